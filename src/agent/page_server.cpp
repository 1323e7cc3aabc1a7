#include "agent/page_server.h"

#include <utility>

#include "base/log.h"

namespace ghostip::agent {

PageServer::PageServer(PageServerConfig config, http::Routes routes)
    : config_(std::move(config)), routes_(std::move(routes)) {
    const auto listening = listen();
    if (listening) return;
    if (config_.on_hard_failure) {
        config_.on_hard_failure(listening.error());
        return;
    }
    log::error("{}: {}; tried again every {} ms", config_.what, listening.error().message,
               config_.retry_interval.count());
    thread_ = std::thread([this] { retry(); });
}

PageServer::~PageServer() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
        changed_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
}

Result<void> PageServer::listen() {
    ASSIGN_OR_RETURN(auto server, http::Server::listen(config_.address, config_.port, routes_));
    const std::lock_guard lock(mutex_);
    server_ = std::move(server);
    changed_.notify_all();
    return {};
}

void PageServer::retry() {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, config_.retry_interval, [this] { return stop_; })) {
        lock.unlock();
        const bool listening = listen().has_value();
        lock.lock();
        if (!listening) continue;
        log::info("{}: at {} port {} now", config_.what, config_.address, config_.port);
        return;
    }
}

std::uint16_t PageServer::port() const {
    const std::lock_guard lock(mutex_);
    return server_ ? server_->port() : std::uint16_t{0};
}

bool PageServer::wait_listening(std::chrono::milliseconds limit) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [this] { return server_ != nullptr; });
}

}  // namespace ghostip::agent
