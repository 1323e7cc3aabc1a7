// For tests: a client that sends bytes as they are and reads the answer.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/fd.h"

namespace ghostip::http::testing {

// To loopback of the family of `address`. Not connected: nobody listens there.
class Client {
  public:
    explicit Client(std::uint16_t port, const char* address = "127.0.0.1") {
        sockaddr_in v4{};
        sockaddr_in6 v6{};
        const bool is_v4 = ::inet_pton(AF_INET, address, &v4.sin_addr) == 1;
        if (!is_v4) ::inet_pton(AF_INET6, address, &v6.sin6_addr);
        v4.sin_family = AF_INET;
        v4.sin_port = htons(port);
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(port);
        socket_ = Fd(::socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const auto* to = is_v4 ? reinterpret_cast<const sockaddr*>(&v4) : reinterpret_cast<const sockaddr*>(&v6);
        if (::connect(socket_.get(), to, is_v4 ? sizeof v4 : sizeof v6) != 0) socket_.reset();
    }
    [[nodiscard]] bool connected() const { return static_cast<bool>(socket_); }
    void send(std::string_view bytes) const { (void)!::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL); }
    // Everything until the server closes the connection, or until `enough` of it has come, or ten seconds are over.
    [[nodiscard]] std::string read(std::string_view enough = {}) const {
        std::string out;
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        while (enough.empty() || out.find(enough) == std::string::npos) {
            const auto left =
                std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
            pollfd ready{socket_.get(), POLLIN, 0};
            if (left.count() <= 0 || ::poll(&ready, 1, static_cast<int>(left.count())) <= 0) return out + "[too late]";
            std::array<char, 4096> buffer{};
            const auto size = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
            if (size <= 0) return out;
            out.append(buffer.data(), static_cast<std::size_t>(size));
        }
        return out;
    }

  private:
    Fd socket_;
};

struct Answer {
    int status = 0;  // 0: no connection, or no answer
    std::string head;
    std::string body;
};

inline Answer parse_answer(const std::string& text) {
    Answer answer;
    const auto end = text.find("\r\n\r\n");
    if (text.size() < 12 || end == std::string::npos) return answer;
    answer.status = std::stoi(text.substr(9, 3));
    answer.head = text.substr(0, end + 2);
    answer.body = text.substr(end + 4);
    return answer;
}

// One request on a connection of its own. `headers`: each with \r\n.
inline Answer ask(std::uint16_t port, const std::string& method_and_target, const std::string& headers = "",
                  const std::string& body = "", const char* address = "127.0.0.1") {
    const Client client(port, address);
    if (!client.connected()) return {};
    client.send(method_and_target + " HTTP/1.1\r\nHost: node\r\nConnection: close\r\n" + headers +
                (body.empty() ? "" : "Content-Length: " + std::to_string(body.size()) + "\r\n") + "\r\n" + body);
    return parse_answer(client.read());
}

}  // namespace ghostip::http::testing
