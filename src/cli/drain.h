// What is carried ends with the process; `--drain-timeout` lets it end by itself before. Until then the agent goes on:
// whoever comes is served, and by the endpoints that are there by then.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "dataplane/carrier.h"

namespace ghostip::cli {

// Waits until nothing is carried, at most so long (absent: for ever), or until `enough`. Logs what is carried, and what
// is cut. Where a successor has the listeners nothing new comes.
void drain(const relay::Relay& relay, std::optional<std::chrono::milliseconds> longest,
           const std::function<bool()>& enough);

class Drain {
  public:
    // `carrier` null, or no time: nothing is waited for.
    Drain(std::shared_ptr<const dataplane::Carrier> carrier, std::optional<std::chrono::milliseconds> longest)
        : carrier_(std::move(carrier)), longest_(longest) {}
    ~Drain();
    Drain(const Drain&) = delete;
    Drain& operator=(const Drain&) = delete;

    // Calls `then` when that is over, from any thread; once, whoever else begins it too. Any thread.
    void begin(std::function<void()> then);
    // How long begin() may take.
    [[nodiscard]] std::chrono::milliseconds longest() const;

  private:
    const std::shared_ptr<const dataplane::Carrier> carrier_;
    const std::optional<std::chrono::milliseconds> longest_;
    std::atomic<bool> begun_ = false;
    std::atomic<bool> enough_ = false;
    std::thread thread_;  // whoever begins it starts it
};

}  // namespace ghostip::cli
