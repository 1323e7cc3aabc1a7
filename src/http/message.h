// What a client asks and what it is answered: values.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace ghostip::http {

struct Request {
    std::string method = "GET";
    std::string path = "/";                           // decoded, without the query
    std::map<std::string, std::string> query = {};    // `?verbose` is a name with an empty value
    std::map<std::string, std::string> headers = {};  // names in lower case
    std::string body = {};
    std::uint64_t tag = 0;  // of the listening socket that it came by

    // Empty where there is none.
    [[nodiscard]] const std::string& header(const std::string& lower_case_name) const {
        static const std::string none;
        const auto found = headers.find(lower_case_name);
        return found == headers.end() ? none : found->second;
    }
};

enum class Compression : std::uint8_t { kNever, kIfAccepted };

struct Response {
    unsigned status = 200;
    std::string body = {};
    std::vector<std::pair<std::string, std::string>> headers = {};
    Compression compression = Compression::kNever;
};

// Called on the server's thread, one request at a time.
using Handler = std::function<Response(const Request&)>;

// The body is the text and a new line, as Go's http.Error answers.
[[nodiscard]] Response plain_error(unsigned status, const std::string& text);

}  // namespace ghostip::http
