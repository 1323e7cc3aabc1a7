#include "source/kubernetes/credentials.h"

#include <algorithm>
#include <utility>

#include "source/kubernetes/pem.h"

namespace ghostip::source::kubernetes {
namespace {

using namespace std::chrono_literals;

// client-go takes a token file's content for good for 60 s, and reads it again 10 s before that.
constexpr auto kTokenAge = 50s;
constexpr auto kCertificateAge = 1s;

// As Go's strings.TrimSpace, for ASCII.
std::string trimmed(std::string_view text) {
    constexpr std::string_view kSpace = " \t\r\n\v\f";
    const std::size_t begin = std::min(text.find_first_not_of(kSpace), text.size());
    return std::string(text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin));
}

Result<std::string> check_token(std::string_view content) {
    std::string token = trimmed(content);
    if (token.empty()) return fail("is empty");
    const bool printable =
        std::all_of(token.begin(), token.end(), [](char letter) { return letter > ' ' && letter < 0x7f; });
    if (!printable) return fail("holds characters that no bearer token has");
    return token;
}

RefreshedFile::Check pem_check(std::string kind) {
    return [kind = std::move(kind)](std::string content) -> Result<std::string> {
        if (!has_pem_block(content, kind)) return fail("holds no {} in PEM", kind);
        return content;
    };
}

// What may not stand in a header's name goes percent-encoded (RFC 7230 token characters but for %).
std::string escaped_header_key(std::string_view key) {
    std::string escaped;
    for (const char letter : key) {
        const bool plain = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
                           (letter >= '0' && letter <= '9') ||
                           std::string_view("!#$&'*+-.^_`|~").find(letter) != std::string_view::npos;
        if (plain)
            escaped += letter;
        else
            escaped += fmt::format("%{:02X}", static_cast<unsigned char>(letter));
    }
    return escaped;
}

std::vector<std::string> fixed_headers(const ClientConfig& config) {
    std::vector<std::string> headers;
    if (!config.username.empty())
        headers.push_back("Authorization: Basic " + encode_base64(config.username + ":" + config.password));
    const Impersonation& as = config.impersonation;
    if (as.user.empty()) return headers;
    headers.push_back("Impersonate-User: " + as.user);
    if (!as.uid.empty()) headers.push_back("Impersonate-Uid: " + as.uid);
    for (const auto& group : as.groups) headers.push_back("Impersonate-Group: " + group);
    for (const auto& [key, values] : as.extra)
        for (const auto& value : values)
            headers.push_back(fmt::format("Impersonate-Extra-{}: {}", escaped_header_key(key), value));
    return headers;
}

}  // namespace

Credentials::Credentials(const ClientConfig& config, Environment environment, TimeSource time,
                         std::function<void()> wake, TransportObserver* observer)
    : config_(config), time_(std::move(time)), observer_(observer) {
    // Once more, whoever made the configuration: nothing secret in the clear.
    if (!config.server.is_https()) return;
    fixed_headers_ = fixed_headers(config);
    if (!config.token_file.empty()) token_.emplace(config.token_file, kTokenAge, check_token);
    if (config.certificate.data.empty() && !config.certificate.file.empty())
        certificate_.emplace(config.certificate.file, kCertificateAge, pem_check("CERTIFICATE"));
    if (config.key.data.empty() && !config.key.file.empty())
        key_.emplace(config.key.file, kCertificateAge, pem_check("PRIVATE KEY"));
    if (config.exec) plugin_.emplace(config, std::move(environment), std::move(wake));
}

Credentials::Prepared Credentials::prepare(Ticket ticket) {
    if (plugin_) return prepare_plugin(ticket);
    Identity identity;
    identity.headers = fixed_headers_;
    if (!config_.server.is_https()) return identity;
    auto token = bearer_token();
    if (!token) return token.error();
    if (!token->empty()) identity.headers.push_back("Authorization: Bearer " + *token);
    auto certificate = configured_certificate();
    if (!certificate) return certificate.error();
    identity.certificate = std::move(certificate).value();
    return identity;
}

Result<std::string> Credentials::bearer_token() {
    if (!token_) return config_.token.empty() ? std::string() : check_token(config_.token);
    auto token = token_->content(time_.steady());
    const bool has_other = !token && !config_.token.empty();
    if (token || has_other)
        tell_failure(*token_, has_other ? "the token of the configuration is used" : "the token read before is used");
    if (has_other) return check_token(config_.token);
    return token;
}

Result<ClientCertificate> Credentials::configured_certificate() {
    ClientCertificate pair{config_.certificate.data, config_.key.data};
    for (auto& [file, into] : {std::pair{&certificate_, &pair.certificate}, std::pair{&key_, &pair.key}}) {
        if (!*file) continue;
        ASSIGN_OR_RETURN(*into, (*file)->content(time_.steady()));
        tell_failure(**file, "the certificate and key read before are used");
    }
    return pair;
}

Credentials::Prepared Credentials::prepare_plugin(Ticket ticket) {
    take_outcome();
    const bool fresh = runs_ended_ > ticket;
    if (last_run_ && !*last_run_ && fresh) return last_run_->error();
    // A plugin may hand out what has already expired; one request each is still worth trying.
    if (last_run_ && *last_run_ && (fresh || !expired())) {
        const PluginCredential& credential = **last_run_;
        Identity identity{fixed_headers_, credential.certificate, runs_ended_};
        if (credential.token.empty()) return identity;
        auto token = check_token(credential.token);
        if (!token) return token.error().within("exec: the token of " + config_.exec->command);
        identity.headers.push_back("Authorization: Bearer " + *token);
        return identity;
    }
    plugin_->start();
    return Pending{};
}

void Credentials::take_outcome() {
    auto outcome = plugin_->take();
    if (!outcome) return;
    ++runs_ended_;
    last_run_.emplace(std::move(outcome->credential));
    if (observer_ != nullptr) observer_->on_plugin_called(outcome->called);
}

bool Credentials::expired() const {
    const auto& expires = (**last_run_).expires;
    return expires && *expires <= time_.wall();
}

void Credentials::rejected(const Identity& identity) {
    if (token_) token_->expire();
    // Somebody else's 401 may have brought new ones already.
    if (plugin_ && identity.plugin_run == runs_ended_) last_run_.reset();
}

void Credentials::tell_failure(RefreshedFile& file, std::string_view what) {
    const auto failure = file.take_failure();
    if (failure && observer_ != nullptr) observer_->on_notice(fmt::format("{}; {}", failure->message, what));
}

}  // namespace ghostip::source::kubernetes
