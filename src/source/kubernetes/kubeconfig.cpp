#include "source/kubernetes/kubeconfig.h"

#include <filesystem>

#include <fmt/ranges.h>

#include "api/document_tree.h"
#include "api/problem.h"
#include "source/kubernetes/kubeconfig_user.h"
#include "source/kubernetes/proxy.h"
#include "source/kubernetes/tree_json.h"

namespace ghostip::source::kubernetes {
namespace {

using api::codec::Field;
using api::codec::Tree;

constexpr std::string_view kExecExtension = "client.authentication.k8s.io/exec";

// Keeps what is wrong, and no secret.
class Problems : public api::DecodeSink {
  public:
    void object(api::Decoded /*decoded*/) override {}
    void problem(api::Problem problem) override {
        const bool long_or_secret = problem.field.starts_with("users[") || problem.field.ends_with("-data") ||
                                    problem.field.ends_with("proxy-url") ||
                                    problem.value.find('@') != std::string::npos;
        if (long_or_secret) problem.value.clear();
        texts_.push_back(problem.text());
    }
    [[nodiscard]] const std::vector<std::string>& texts() const { return texts_; }

  private:
    std::vector<std::string> texts_;
};

class Kubeconfig {
  public:
    Kubeconfig(const Tree& tree, const std::string& file, const std::string& master, const ReadFile& read)
        : scope_{tree, file, problems_},
          file_(file),
          master_(master),
          files_{std::filesystem::path(file).parent_path().string(), read} {
        config_.origin = file;
    }

    Result<std::optional<ClientConfig>> read();

  private:
    struct Context {
        std::string cluster;
        std::string user;
    };
    Context read_context(const Field& root);
    void drop_user(const std::string& name);
    void read_cluster(const Field& cluster);
    void read_server(const Field& cluster);
    void read_extension(const Field& cluster);
    template <typename Visit>
    bool with_named(const Field& root, std::string_view list, std::string_view content, const std::string& name,
                    Visit&& visit);
    Error invalid() const;

    Problems problems_;
    api::codec::ObjectScope scope_;
    const std::string& file_;
    const std::string& master_;
    const KubeconfigFiles files_;
    ClientConfig config_;
    bool cluster_is_empty_ = true;
    std::string exec_cluster_config_;  // any JSON, for exec plugins
};

// Calls visit with the content of the entry that has this name. Whether there is one.
template <typename Visit>
bool Kubeconfig::with_named(const Field& root, std::string_view list, std::string_view content, const std::string& name,
                            Visit&& visit) {
    bool found = false;
    root.member(list).each([&](const Field& entry) {
        const Field entry_name = entry.member("name");
        if (name.empty() || text_of(entry_name) != name) return;
        if (found) return entry_name.error("is there twice");
        found = true;
        const Field inner = entry.mapping(content);
        visit(inner);
    });
    return found;
}

Result<std::optional<ClientConfig>> Kubeconfig::read() {
    const Field root = Field::root(scope_);
    for (const auto& [key, wanted] : {std::pair{"apiVersion", "v1"}, std::pair{"kind", "Config"}}) {
        const Field field = root.member(key);
        if (const std::string given = text_of(field); !given.empty() && given != wanted)
            field.error(fmt::format("must be {}", wanted));
    }
    const Context context = read_context(root);
    with_named(root, "clusters", "cluster", context.cluster, [&](const Field& cluster) { read_cluster(cluster); });
    const bool known_user =
        with_named(root, "users", "user", context.user, [&](const Field& user) { read_user(user, files_, config_); });
    if (!context.user.empty() && !known_user)
        config_.notices.push_back(
            fmt::format("{}: has no user \"{}\"; requests carry no credentials", file_, api::printable(context.user)));

    if (!master_.empty()) {
        const auto scheme = config_.authority.given() || config_.certificate.given() || config_.insecure_skip_tls_verify
                                ? SchemeIfNone::kHttps
                                : SchemeIfNone::kHttp;
        auto server = parse_server_url(master_, scheme);
        if (!server)
            return fail("invalid configuration: --master \"{}\" {}", api::printable(master_), server.error().message);
        config_.server = std::move(server).value();
        config_.tls_server_name.clear();
    }
    if (!problems_.texts().empty()) return invalid();
    if (cluster_is_empty_ && master_.empty()) return std::optional<ClientConfig>();
    if (config_.exec) config_.exec->cluster_config = exec_cluster_config_;
    if (!config_.server.is_https()) drop_user(known_user ? context.user : std::string());
    return std::optional(std::move(config_));
}

// Credentials never travel in the clear.
void Kubeconfig::drop_user(const std::string& name) {
    if (!name.empty())
        config_.notices.push_back(fmt::format("{}: the credentials of user \"{}\" are not used: {} is not https", file_,
                                              api::printable(name), config_.server.text()));
    config_.certificate = {};
    config_.key = {};
    config_.token.clear();
    config_.token_file.clear();
    config_.username.clear();
    config_.password.clear();
    config_.exec.reset();
    config_.impersonation = {};
}

Kubeconfig::Context Kubeconfig::read_context(const Field& root) {
    Context context;
    const Field current = root.member("current-context");
    const std::string name = text_of(current);
    if (name.empty()) return context;
    const bool found = with_named(root, "contexts", "context", name, [&](const Field& inner) {
        context.cluster = text_of(inner.member("cluster"));
        context.user = text_of(inner.member("user"));
        config_.name_space = text_of(inner.member("namespace"));
    });
    if (!found) current.error("there is no context of this name");
    return context;
}

void Kubeconfig::read_cluster(const Field& cluster) {
    cluster_is_empty_ = cluster.size() == 0;
    if (cluster_is_empty_) return;
    config_.authority = read_pem(cluster, "certificate-authority", "CERTIFICATE", files_);
    config_.tls_server_name = text_of(cluster.member("tls-server-name"));
    const Field insecure = cluster.member("insecure-skip-tls-verify");
    config_.insecure_skip_tls_verify = insecure.boolean().value_or(false);
    if (config_.insecure_skip_tls_verify && config_.authority.given())
        insecure.error("cannot be combined with a certificate authority");
    config_.disable_compression = cluster.member("disable-compression").boolean().value_or(false);
    const Field proxy = cluster.member("proxy-url");
    config_.proxy_url = text_of(proxy);
    if (!config_.proxy_url.empty()) {
        // The value may hold a password, and is not shown.
        if (const auto good = check_proxy_url(config_.proxy_url); !good) proxy.error(good.error().message);
    }
    read_extension(cluster);
    read_server(cluster);
}

void Kubeconfig::read_server(const Field& cluster) {
    const Field server = cluster.member("server");
    const std::string text = text_of(server);
    if (!master_.empty()) return;
    if (text.empty()) return server.error("must be given: the URL of the API server");
    const bool tls = config_.authority.given() || config_.insecure_skip_tls_verify;
    auto parsed = parse_server_url(text, tls ? SchemeIfNone::kHttps : SchemeIfNone::kHttp);
    if (!parsed) return server.error(parsed.error().message);
    config_.server = std::move(parsed).value();
}

void Kubeconfig::read_extension(const Field& cluster) {
    cluster.member("extensions").each([&](const Field& entry) {
        if (text_of(entry.member("name")) != kExecExtension) return;
        const Field extension = entry.member("extension");
        if (extension.given()) exec_cluster_config_ = to_json(scope_.tree, *extension.node());
    });
}

Error Kubeconfig::invalid() const {
    const auto& texts = problems_.texts();
    if (texts.size() == 1) return fail("invalid configuration: {}", texts.front());
    return fail("invalid configuration: [{}]", fmt::join(texts, ", "));
}

}  // namespace

Result<std::optional<ClientConfig>> parse_kubeconfig(std::string_view text, const std::string& file,
                                                     const std::string& master, const ReadFile& read_file) {
    // client-go takes an empty file for a configuration without entries.
    const bool blank = text.find_first_not_of(" \t\r\n") == std::string_view::npos;
    ASSIGN_OR_RETURN(const auto tree, api::parse_document(blank ? "{}" : text, file));
    return Kubeconfig(*tree, file, master, read_file).read();
}

}  // namespace ghostip::source::kubernetes
