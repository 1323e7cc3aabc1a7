// What must hold for whatever bytes are a kubeconfig: no crash, an error of one line, and no credentials without https.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "source/kubernetes/exec_credential.h"
#include "source/kubernetes/kubeconfig.h"

namespace {

using namespace ghostip;
using namespace ghostip::source::kubernetes;

[[noreturn]] void die(const char* what) {
    std::fprintf(stderr, "%s\n", what);
    std::abort();
}

// No file is opened: names in the text could be anything.
Result<std::string> no_file(const std::string& path) {
    if (path.find("crt") != std::string::npos)
        return std::string("-----BEGIN CERTIFICATE-----\nY2VydA==\n-----END CERTIFICATE-----\n");
    if (path.find("key") != std::string::npos)
        return std::string("-----BEGIN PRIVATE KEY-----\na2V5\n-----END PRIVATE KEY-----\n");
    return fail("{}: No such file or directory", path);
}

void check_config(std::string_view text, const std::string& master) {
    const auto config = parse_kubeconfig(text, "/x/kubeconfig", master, no_file);
    if (!config) {
        if (config.error().message.find('\n') != std::string::npos) die("an error of several lines");
        return;
    }
    if (!*config) return;
    const ClientConfig& found = **config;
    if (found.server.host.empty()) die("no server, and no error");
    const bool has_user = !found.token.empty() || !found.token_file.empty() || !found.username.empty() || found.exec ||
                          found.certificate.given() || !found.impersonation.user.empty();
    if (has_user && !found.server.is_https()) die("credentials in the clear");
    if (found.token.find('\n') != std::string::npos) die("a token that breaks out of its header");
    const auto again = parse_server_url(found.server.text(), SchemeIfNone::kHttp);
    if (!again || again->text() != found.server.text()) die("a server URL that does not read back");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    check_config(text, "");
    check_config(text, "h:1");
    // The other foreign text here: what a plugin prints.
    ExecPlugin plugin;
    plugin.command = "plugin";
    plugin.api_version = "client.authentication.k8s.io/v1";
    const auto credential = parse_exec_credential(text, plugin);
    if (credential && credential->token.empty() && !credential->certificate.given()) die("a credential that is none");
    return 0;
}
