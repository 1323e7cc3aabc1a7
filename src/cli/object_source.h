// Where `ghostip proxy` takes its objects from: manifests, or the API server of a cluster.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/metrics.h"
#include "api/source.h"
#include "base/result.h"
#include "cli/proxy_settings.h"
#include "source/kubernetes/client_config.h"
#include "source/kubernetes/kubernetes_source.h"
#include "source/kubernetes/transport_observer.h"

namespace ghostip::cli {

class ObjectSource {
  public:
    // Reads who the API server is, if there is one; contacts nobody and starts no thread yet. `metrics` outlives this.
    [[nodiscard]] static Result<std::unique_ptr<ObjectSource>> create(const ProxySettings& settings,
                                                                      agent::Metrics& metrics);
    ObjectSource(const ObjectSource&) = delete;
    ObjectSource& operator=(const ObjectSource&) = delete;

    // Our credentials come from another program.
    [[nodiscard]] bool runs_programs() const { return client_ && client_->exec; }
    [[nodiscard]] bool is_cluster() const { return client_.has_value(); }
    [[nodiscard]] std::string text() const;  // for the log: "manifests /etc/ghostip"
    // Opens it. Before the first use of the source, and after privileges were given up.
    [[nodiscard]] Result<void> open(const std::string& node_name);

    [[nodiscard]] api::ObjectSource& source() { return *source_; }
    // How many objects could not be read from manifests so far.
    [[nodiscard]] int bad_objects() const { return bad_objects_; }
    // To the cluster, where there is one. From any thread.
    void post(source::kubernetes::Event event);
    // Of the Node that this agent is for.
    [[nodiscard]] source::kubernetes::EventObject node() const;

  private:
    class Observer;
    ObjectSource(const ProxySettings& settings, agent::Metrics& metrics);
    [[nodiscard]] Result<void> open_cluster();
    [[nodiscard]] std::vector<agent::WatchState> watch_states() const;

    const std::string manifests_;
    const OwnSettings own_;
    const agent::config::ClientConnection connection_;
    const bool streaming_lists_;
    const std::string version_;
    const std::chrono::steady_clock::time_point opened_at_ = std::chrono::steady_clock::now();
    agent::Metrics& metrics_;
    std::optional<source::kubernetes::ClientConfig> client_;  // none: manifests
    std::string node_name_;
    std::atomic<int> bad_objects_ = 0;
    std::unique_ptr<source::kubernetes::TransportObserver> observer_;
    std::unique_ptr<api::ObjectSource> source_;
    source::kubernetes::KubernetesSource* cluster_ = nullptr;  // source_, if it is one
};

}  // namespace ghostip::cli
