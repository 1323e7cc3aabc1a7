// The pages that this process serves: health, and metrics with what is beside them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "agent/metrics_pages.h"
#include "agent/page_server.h"
#include "base/result.h"
#include "cli/proxy_settings.h"
#include "http/routes.h"

namespace ghostip::cli {

// Of `ADDRESS:PORT`; 0: it is not of that form, or says so.
[[nodiscard]] std::uint16_t port_of(const std::string& address);

// Serves at an address of the configuration, `ADDRESS:PORT`. Null where nobody wants it. `what` is the field's name.
[[nodiscard]] std::unique_ptr<agent::PageServer> serve(std::string what, const std::string& address,
                                                       http::Routes routes,
                                                       std::function<void(const Error&)> on_hard_failure);

[[nodiscard]] agent::MetricsPages metrics_pages_of(const ProxySettings& settings, std::string_view mode);

// All of them; a successor wants their ports. Any thread.
class Pages {
  public:
    using Servers = std::vector<std::unique_ptr<agent::PageServer>>;

    void open_by(std::function<Servers()> open);
    // Nothing before open_by().
    void set(bool open);

  private:
    std::mutex mutex_;
    std::function<Servers()> open_;  // guarded by mutex_
    Servers servers_;                // guarded by mutex_
};

}  // namespace ghostip::cli
