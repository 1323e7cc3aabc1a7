#include "cli/object_source.h"

#include <unistd.h>

#include <array>
#include <cstdlib>
#include <utility>

#include "base/log.h"
#include "source/kubernetes/curl_transport.h"
#include "source/manifests/manifest_source.h"

namespace ghostip::cli {

namespace kubernetes = source::kubernetes;
using std::chrono::duration_cast;
using std::chrono::seconds;

namespace {

constexpr double kPercent = 100;

kubernetes::ReflectorOptions reflector_options(const OwnSettings& own,
                                               const agent::config::ClientConnection& connection,
                                               bool streaming_lists) {
    kubernetes::ReflectorOptions options;
    options.streaming_lists = streaming_lists;
    options.accept =
        !connection.accept_content_types.empty() ? connection.accept_content_types : connection.content_type + ", */*";
    options.stall_limit = duration_cast<seconds>(own.watch_stall_limit);
    options.mass_removal.share = own.mass_removal_percent / kPercent;
    options.mass_removal.more_than = own.mass_removal_count;
    options.mass_removal.hold_at_most = duration_cast<seconds>(own.mass_removal_delay);
    return options;
}

// The gate of Kubernetes' Go client, which its environment variable overrules.
bool streaming_lists(const agent::config::GateSettings& gates) {
    const char* told = std::getenv("KUBE_FEATURE_WatchListClient");
    const std::string_view word = told == nullptr ? "" : told;
    if (word == "true" || word == "1") return true;
    if (word == "false" || word == "0") return false;
    return agent::config::gate_enabled(gates, "WatchListClient");
}

kubernetes::EventReporter reporter() {
    std::array<char, 256> host{};
    static_cast<void>(::gethostname(host.data(), host.size() - 1));
    return {"kube-proxy", std::string("kube-proxy-") + host.data()};
}

// What was never heard from is as old as this process.
agent::WatchState watch_state(std::string resource, const kubernetes::ReflectorStats& stats, double since_start) {
    return {.resource = std::move(resource),
            .age_seconds = stats.watch_age_seconds.value_or(since_start),
            .relists = stats.relists,
            .restarts = stats.watch_restarts,
            .stalls = stats.stalls,
            .decode_failures = stats.decode_failures,
            .held_removals = stats.held_removals,
            .holding = stats.holding};
}

}  // namespace

// What the transport counts goes where it is published.
class ObjectSource::Observer final : public kubernetes::TransportObserver {
  public:
    explicit Observer(agent::ClientMetrics& metrics) : metrics_(metrics) {}

    void on_request_done(const kubernetes::RequestDone& done) override {
        metrics_.requested(done.method, done.host, done.code, done.duration.count(), done.request_bytes);
    }
    void on_response_size(const std::string& method, const std::string& host, std::uint64_t bytes) override {
        metrics_.responded(method, host, bytes);
    }
    void on_rate_limited(const std::string& method, const std::string& host,
                         std::chrono::duration<double> wait) override {
        metrics_.waited(method, host, wait.count());
    }
    void on_plugin_called(const kubernetes::PluginCalled& called) override {
        metrics_.ran_exec_plugin(called.exit_code, called.status);
        if (called.expires) metrics_.set_exec_plugin_expiry(*called.expires);
    }
    void on_notice(const std::string& line) override { log::warning("{}", line); }

  private:
    agent::ClientMetrics& metrics_;
};

ObjectSource::ObjectSource(const ProxySettings& settings, agent::Metrics& metrics)
    : manifests_(settings.own.manifests),
      own_(settings.own),
      connection_(settings.configuration.client_connection),
      streaming_lists_(streaming_lists(settings.configuration.feature_gates)),
      version_(settings.version),
      metrics_(metrics) {}

Result<std::unique_ptr<ObjectSource>> ObjectSource::create(const ProxySettings& settings, agent::Metrics& metrics) {
    std::unique_ptr<ObjectSource> made(new ObjectSource(settings, metrics));
    if (!made->manifests_.empty()) return made;
    kubernetes::LoadOptions options;
    options.kubeconfig = made->connection_.kubeconfig;
    options.master = settings.master;
    auto client = kubernetes::load_client_config(options);
    if (!client)
        return fail("{}; objects come from a cluster's API server, unless --manifests names a file or folder",
                    client.error().message);
    made->client_ = std::move(*client);
    for (const auto& notice : made->client_->notices) log::warning("{}", notice);
    return made;
}

std::string ObjectSource::text() const {
    if (!client_) return "manifests " + manifests_;
    return fmt::format("API server {} ({})", client_->server.text(), client_->origin);
}

Result<void> ObjectSource::open(const std::string& node_name) {
    node_name_ = node_name;
    if (client_) return open_cluster();
    source_ = std::make_unique<source::ManifestSource>(manifests_, [this](const api::Problem& problem) {
        if (problem.severity == api::Severity::kError) {
            ++bad_objects_;
            log::error("{}", problem.text());
        } else {
            log::warning("{}", problem.text());
        }
    });
    return {};
}

Result<void> ObjectSource::open_cluster() {
    observer_ = std::make_unique<Observer>(metrics_.client());
    kubernetes::CurlOptions options;
    options.user_agent = kubernetes::user_agent("kube-proxy", version_, "ghostip");
    options.qps = connection_.qps;
    options.burst = connection_.burst;
    options.observer = observer_.get();
    ASSIGN_OR_RETURN(auto transport, kubernetes::CurlTransport::create(*client_, std::move(options)));
    auto cluster = std::make_unique<kubernetes::KubernetesSource>(
        kubernetes::KubernetesSourceOptions{node_name_, reflector_options(own_, connection_, streaming_lists_),
                                            reporter()},
        std::move(transport), [](log::Level level, const std::string& text) { log::write(level, text); },
        [](const kubernetes::HeldRemoval&) {});  // the log and ghostip_held_removals_total tell
    cluster_ = cluster.get();
    source_ = std::move(cluster);
    metrics_.watch([this] { return watch_states(); });
    return {};
}

std::vector<agent::WatchState> ObjectSource::watch_states() const {
    const auto stats = cluster_->stats();
    const auto age = std::chrono::duration<double>(std::chrono::steady_clock::now() - opened_at_).count();
    return {watch_state("nodes", stats.nodes, age), watch_state("services", stats.services, age),
            watch_state("endpointslices", stats.endpoint_slices, age),
            watch_state("servicecidrs", stats.service_cidrs, age)};
}

void ObjectSource::post(kubernetes::Event event) {
    if (cluster_ != nullptr) cluster_->post(std::move(event));
}

kubernetes::EventObject ObjectSource::node() const { return {"v1", "Node", "", node_name_, ""}; }

}  // namespace ghostip::cli
