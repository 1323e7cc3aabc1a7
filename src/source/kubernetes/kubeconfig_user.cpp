#include "source/kubernetes/kubeconfig_user.h"

#include <algorithm>
#include <filesystem>

#include "source/kubernetes/pem.h"

namespace ghostip::source::kubernetes {
namespace {

using api::codec::Field;

// Goes into a header as it stands.
bool is_header_text(std::string_view text) {
    return std::none_of(text.begin(), text.end(), [](char character) {
        return (static_cast<unsigned char>(character) < 0x20 && character != '\t') || character == 0x7f;
    });
}

std::string header_text_of(const Field& field) {
    std::string text = text_of(field);
    if (!is_header_text(text)) field.error("must not hold line breaks or other control characters");
    return text;
}

void read_exec(const Field& exec, const KubeconfigFiles& files, ClientConfig& config) {
    ExecPlugin plugin;
    const Field command = exec.member("command");
    plugin.command = text_of(command);
    if (plugin.command.empty()) command.error("must be given");
    if (plugin.command.find('/') != std::string::npos) plugin.command = files.resolve(plugin.command);
    exec.member("args").each([&](const Field& argument) { plugin.arguments.push_back(text_of(argument)); });
    exec.member("env").each([&](const Field& variable) {
        const Field name = variable.member("name");
        const Field value = variable.member("value");
        plugin.environment.emplace_back(text_of(name), text_of(value));
        const std::string& given = plugin.environment.back().first;
        if (given.empty()) return name.error("must be given");
        if (given.find('=') != std::string::npos) name.error("must not hold a =");
    });
    const Field version = exec.member("apiVersion");
    plugin.api_version = text_of(version);
    const bool is_v1 = plugin.api_version == "client.authentication.k8s.io/v1";
    if (plugin.api_version.empty())
        version.error("must be given");
    else if (!is_v1 && plugin.api_version != "client.authentication.k8s.io/v1beta1")
        version.error("must be client.authentication.k8s.io/v1 or client.authentication.k8s.io/v1beta1");
    const Field mode = exec.member("interactiveMode");
    if (is_v1 && text_of(mode).empty())
        mode.error("must be given with this apiVersion: Never, IfAvailable or Always");
    else
        plugin.interactive = mode.choice<InteractiveMode>({{"Never", InteractiveMode::kNever},
                                                           {"IfAvailable", InteractiveMode::kIfAvailable},
                                                           {"Always", InteractiveMode::kAlways}},
                                                          InteractiveMode::kIfAvailable);
    plugin.install_hint = text_of(exec.member("installHint"));
    plugin.provide_cluster_info = exec.member("provideClusterInfo").boolean().value_or(false);
    config.exec = std::move(plugin);
}

void read_impersonation(const Field& user, ClientConfig& config) {
    Impersonation& as = config.impersonation;
    as.user = header_text_of(user.member("as"));
    const Field uid = user.member("as-uid");
    const Field groups = user.member("as-groups");
    const Field extra = user.member("as-user-extra");
    as.uid = header_text_of(uid);
    groups.each([&](const Field& group) { as.groups.push_back(header_text_of(group)); });
    extra.each_member([&](const Field& values) {
        values.each([&](const Field& value) { as.extra[std::string(values.key())].push_back(header_text_of(value)); });
    });
    if (!as.user.empty()) return;
    if (!as.uid.empty()) uid.error("is given without as, the user");
    if (!as.groups.empty()) groups.error("is given without as, the user");
    if (!as.extra.empty()) extra.error("is given without as, the user");
}

void read_certificate(const Field& user, const KubeconfigFiles& files, ClientConfig& config) {
    config.certificate = read_pem(user, "client-certificate", "CERTIFICATE", files);
    config.key = read_pem(user, "client-key", "PRIVATE KEY", files);
    const bool has_certificate =
        user.member("client-certificate").given() || user.member("client-certificate-data").given();
    const bool has_key = user.member("client-key").given() || user.member("client-key-data").given();
    if (has_certificate && !has_key) user.member("client-key").error("must be given with a client certificate");
    if (has_key && !has_certificate) {
        config.key = {};
        config.notices.push_back(user.path() + ".client-key: is of no use without a client certificate");
    }
}

void read_token(const Field& user, const KubeconfigFiles& files, ClientConfig& config) {
    const Field token = user.member("token");
    const Field token_file = user.member("tokenFile");
    config.token = header_text_of(token);
    if (const std::string name = text_of(token_file); !name.empty()) {
        config.token_file = files.resolve(name);
        // With a token to begin with, the file may come later.
        const auto content = config.token.empty() ? files.read(config.token_file) : Result<std::string>(std::string());
        if (!content) token_file.error("cannot be read: " + content.error().message);
    }
    const Field username = user.member("username");
    config.username = text_of(username);
    config.password = text_of(user.member("password"));
    if (config.username.empty() && config.password.empty()) return;
    if (config.username.find(':') != std::string::npos) username.error("must not hold a colon (RFC 7617)");
    if (!config.token.empty()) token.error("cannot be combined with username and password");
    if (!config.token_file.empty()) token_file.error("cannot be combined with username and password");
}

}  // namespace

std::string KubeconfigFiles::resolve(std::string_view name) const {
    const std::filesystem::path path(name);
    return path.is_absolute() ? path.string() : (std::filesystem::path(folder) / path).lexically_normal().string();
}

std::string text_of(const Field& field) { return std::string(field.text().value_or("")); }

FileOrData read_pem(const Field& parent, std::string_view name, std::string_view pem_kind,
                    const KubeconfigFiles& files) {
    const std::string data_name = std::string(name) + "-data";
    const Field file = parent.member(name);
    const Field data = parent.member(data_name);
    FileOrData result;
    const std::string file_text = text_of(file);
    const std::string data_text = text_of(data);
    if (!file_text.empty() && !data_text.empty())
        data.error(fmt::format("is given beside {}; only one of them may be", name));
    if (!data_text.empty()) {
        auto decoded = decode_base64(data_text);
        if (!decoded)
            data.error(decoded.error().message);
        else if (!has_pem_block(*decoded, pem_kind))
            data.error(fmt::format("holds no {} in PEM", pem_kind));
        else
            result.data = std::move(decoded).value();
    }
    if (!file_text.empty()) {
        result.file = files.resolve(file_text);
        const auto content = files.read(result.file);
        if (!content)
            file.error("cannot be read: " + content.error().message);
        else if (!has_pem_block(*content, pem_kind))
            file.error(fmt::format("{} holds no {} in PEM", result.file, pem_kind));
    }
    return result;
}

void read_user(const Field& user, const KubeconfigFiles& files, ClientConfig& config) {
    read_certificate(user, files, config);
    read_token(user, files, config);
    read_impersonation(user, config);
    const Field provider = user.member("auth-provider");
    const Field exec = user.mapping("exec");
    if (exec.given()) read_exec(exec, files, config);
    if (provider.given())
        provider.error(exec.given() ? "cannot be combined with exec"
                                    : "is not supported; use exec with a credential plugin instead");
    // Credentials that are at hand go before a plugin.
    if (!config.token.empty() || !config.token_file.empty() || !config.username.empty() || config.certificate.given())
        config.exec.reset();
}

}  // namespace ghostip::source::kubernetes
