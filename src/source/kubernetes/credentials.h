// What to send with a request at this moment, so that the server knows us: headers and a client certificate. Files are
// read again, a plugin is run again, when api.md 5 and 6 say so.
//
// Owned by one thread. Never waits for a plugin: prepare() says that it is pending, and `wake` is called (on another
// thread) when asking again is worth it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "source/kubernetes/exec_plugin.h"
#include "source/kubernetes/refreshed_file.h"
#include "source/kubernetes/time_source.h"

namespace ghostip::source::kubernetes {

struct Identity {
    std::vector<std::string> headers;  // whole lines: `Authorization: Bearer …`
    ClientCertificate certificate;
    std::uint64_t plugin_run = 0;  // which run it comes from; 0: none
};

class Credentials {
  public:
    struct Pending {};
    using Prepared = std::variant<Identity, Pending, Error>;
    // When a request began to ask: a run that ends later serves it, whatever the outcome.
    using Ticket = std::uint64_t;

    // The configuration outlives this. `observer` may be null.
    Credentials(const ClientConfig& config, Environment environment, TimeSource time, std::function<void()> wake,
                TransportObserver* observer);

    [[nodiscard]] Ticket ticket() const { return runs_ended_; }
    [[nodiscard]] Prepared prepare(Ticket ticket);
    // The server answered 401 to this identity: what can be had anew is, for the next request.
    void rejected(const Identity& identity);
    // What is configured, read again at most once a second. Never a plugin's.
    [[nodiscard]] Result<ClientCertificate> configured_certificate();

  private:
    [[nodiscard]] Prepared prepare_plugin(Ticket ticket);
    [[nodiscard]] Result<std::string> bearer_token();
    void take_outcome();
    void tell_failure(RefreshedFile& file, std::string_view what);
    [[nodiscard]] bool expired() const;

    const ClientConfig& config_;
    const TimeSource time_;
    TransportObserver* const observer_;
    std::vector<std::string> fixed_headers_;  // impersonation, basic
    std::optional<RefreshedFile> token_;
    std::optional<RefreshedFile> certificate_;
    std::optional<RefreshedFile> key_;

    std::optional<Result<PluginCredential>> last_run_;  // nothing: none yet, or it was rejected
    std::uint64_t runs_ended_ = 0;
    std::optional<ExecPluginRunner> plugin_;  // last: its thread ends before the rest goes
};

}  // namespace ghostip::source::kubernetes
