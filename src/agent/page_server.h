// Serves pages at an address, which may not be free yet: then it is tried again and again, for the proxy is worth more
// than its pages. Or, if wanted (bindAddressHardFail), the first failure is told and that was it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "http/server.h"

namespace ghostip::agent {

struct PageServerConfig {
    std::string what;     // for the log: "health pages"
    std::string address;  // IPv4 or IPv6 text
    std::uint16_t port = 0;
    std::chrono::milliseconds retry_interval{5000};
    // bindAddressHardFail: from the constructor; the process is to end. Null: tried again instead.
    std::function<void(const Error&)> on_hard_failure = nullptr;
};

class PageServer {
  public:
    PageServer(PageServerConfig config, http::Routes routes);
    ~PageServer();
    PageServer(const PageServer&) = delete;
    PageServer& operator=(const PageServer&) = delete;

    // 0: it does not listen (yet).
    [[nodiscard]] std::uint16_t port() const;
    // Waits until it listens. False: not within this time.
    [[nodiscard]] bool wait_listening(std::chrono::milliseconds limit) const;

  private:
    [[nodiscard]] Result<void> listen();
    void retry();

    const PageServerConfig config_;
    const http::Routes routes_;
    mutable std::mutex mutex_;
    mutable std::condition_variable changed_;
    std::unique_ptr<http::Server> server_;  // guarded by mutex_
    bool stop_ = false;                     // guarded by mutex_
    std::thread thread_;                    // only where the first try failed; last: it uses the rest
};

}  // namespace ghostip::agent
