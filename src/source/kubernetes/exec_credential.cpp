#include "source/kubernetes/exec_credential.h"

#include <array>
#include <charconv>
#include <ctime>

#include "api/codec/field.h"
#include "api/document_tree.h"
#include "source/kubernetes/pem.h"
#include "source/kubernetes/tree_json.h"

namespace ghostip::source::kubernetes {
namespace {

using api::codec::Field;

// Names the field and hides its value.
class FirstProblem : public api::DecodeSink {
  public:
    void object(api::Decoded /*decoded*/) override {}
    void problem(api::Problem problem) override {
        if (text.empty()) text = problem.field + ": " + problem.message;
    }
    std::string text;
};

// Two or four digits at the front.
std::optional<int> take_number(std::string_view& text, std::size_t digits) {
    int value = 0;
    if (text.size() < digits) return std::nullopt;
    const char* const end = text.data() + digits;
    if (text.front() == '-' || std::from_chars(text.data(), end, value) != std::from_chars_result{end, std::errc()})
        return std::nullopt;
    text.remove_prefix(digits);
    return value;
}

bool take(std::string_view& text, std::string_view any_of) {
    if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
    text.remove_prefix(1);
    return true;
}

// Seconds east of Greenwich.
std::optional<int> take_offset(std::string_view& text) {
    if (take(text, "Zz")) return 0;
    const bool west = text.starts_with('-');
    if (!take(text, "+-")) return std::nullopt;
    const auto hours = take_number(text, 2);
    if (!hours || *hours > 23 || !take(text, ":")) return std::nullopt;
    const auto minutes = take_number(text, 2);
    if (!minutes || *minutes > 59) return std::nullopt;
    const int seconds = *hours * 3600 + *minutes * 60;
    return west ? -seconds : seconds;
}

}  // namespace

std::optional<std::chrono::system_clock::time_point> parse_rfc3339(std::string_view text) {
    std::tm time{};
    struct Part {
        std::size_t digits;
        std::string_view behind;
        int least, most;
        int std::tm::*into;
        int offset;
    };
    const std::array<Part, 6> parts{{
        {4, "-", 1970, 9999, &std::tm::tm_year, -1900},
        {2, "-", 1, 12, &std::tm::tm_mon, -1},
        {2, "Tt", 1, 31, &std::tm::tm_mday, 0},
        {2, ":", 0, 23, &std::tm::tm_hour, 0},
        {2, ":", 0, 59, &std::tm::tm_min, 0},
        {2, "", 0, 60, &std::tm::tm_sec, 0},
    }};
    for (const Part& part : parts) {
        const auto value = take_number(text, part.digits);
        if (!value || *value < part.least || *value > part.most) return std::nullopt;
        if (!part.behind.empty() && !take(text, part.behind)) return std::nullopt;
        time.*part.into = *value + part.offset;
    }
    if (take(text, ".,")) {
        if (!take(text, "0123456789")) return std::nullopt;
        while (take(text, "0123456789")) {
        }
    }
    const auto offset = take_offset(text);
    if (!offset || !text.empty()) return std::nullopt;
    return std::chrono::system_clock::from_time_t(::timegm(&time) - *offset);
}

std::string exec_info(const ExecPlugin& plugin, const ClientConfig& config, std::string_view authority,
                      std::string_view proxy, bool interactive) {
    std::string cluster;
    if (plugin.provide_cluster_info) {
        cluster = "\"cluster\":{\"server\":" + json_quoted(config.server.text());
        const auto add = [&](std::string_view name, std::string_view json) {
            cluster.append(",\"").append(name).append("\":").append(json);
        };
        if (!config.tls_server_name.empty()) add("tls-server-name", json_quoted(config.tls_server_name));
        if (config.insecure_skip_tls_verify) add("insecure-skip-tls-verify", "true");
        if (!authority.empty()) add("certificate-authority-data", json_quoted(encode_base64(authority)));
        if (!proxy.empty()) add("proxy-url", json_quoted(proxy));
        if (config.disable_compression) add("disable-compression", "true");
        if (!plugin.cluster_config.empty()) add("config", plugin.cluster_config);
        cluster += "},";
    }
    return fmt::format(R"({{"kind":"ExecCredential","apiVersion":{},"spec":{{{}"interactive":{}}}}})",
                       json_quoted(plugin.api_version), cluster, interactive);
}

Result<PluginCredential> parse_exec_credential(std::string_view output, const ExecPlugin& plugin) {
    const std::string what = fmt::format("exec: the answer of {}", plugin.command);
    ASSIGN_OR_RETURN(const auto tree, api::parse_document(output, what));
    FirstProblem problems;
    api::codec::ObjectScope scope{*tree, what, problems};
    const Field root = Field::root(scope);
    const auto text = [](const Field& field) { return std::string(field.text().value_or("")); };
    if (const std::string kind = text(root.member("kind")); kind != "ExecCredential")
        return fail("{}: kind: must be ExecCredential", what);
    if (text(root.member("apiVersion")) != plugin.api_version)
        return fail("{}: apiVersion: must be {}, as the configuration says", what, plugin.api_version);
    const Field status = root.mapping("status");
    if (!status.given()) return fail("{}: status: is missing", what);

    PluginCredential credential;
    credential.token = text(status.member("token"));
    credential.certificate = {text(status.member("clientCertificateData")), text(status.member("clientKeyData"))};
    const std::string expires = text(status.member("expirationTimestamp"));
    if (!problems.text.empty()) return fail("{}: {}", what, problems.text);
    if (!expires.empty()) {
        credential.expires = parse_rfc3339(expires);
        if (!credential.expires) return fail("{}: status.expirationTimestamp: must be a time by RFC 3339", what);
    }
    const ClientCertificate& pair = credential.certificate;
    if (credential.token.empty() && pair.certificate.empty() && pair.key.empty())
        return fail("{}: status: holds neither token nor clientCertificateData", what);
    if (pair.certificate.empty() != pair.key.empty())
        return fail("{}: status: holds only one of clientCertificateData and clientKeyData", what);
    if (pair.given() && !has_pem_block(pair.certificate, "CERTIFICATE"))
        return fail("{}: status.clientCertificateData: holds no CERTIFICATE in PEM", what);
    if (pair.given() && !has_pem_block(pair.key, "PRIVATE KEY"))
        return fail("{}: status.clientKeyData: holds no PRIVATE KEY in PEM", what);
    return credential;
}

}  // namespace ghostip::source::kubernetes
