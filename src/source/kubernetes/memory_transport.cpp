#include "source/kubernetes/memory_transport.h"

#include <utility>

namespace ghostip::source::kubernetes {

void MemoryTransport::head(RequestId id, ResponseHead head) { script(id, std::move(head)); }
void MemoryTransport::body(RequestId id, std::string bytes) { script(id, std::move(bytes)); }
void MemoryTransport::end(RequestId id, std::optional<TransportError> error) { script(id, End{std::move(error)}); }

void MemoryTransport::answer(RequestId id, int status, std::string content_type, std::string bytes) {
    head(id, status, std::move(content_type));
    body(id, std::move(bytes));
    end(id);
}

void MemoryTransport::break_all(const TransportError& error) {
    for (const Sent& sent : open_requests()) end(sent.id, error);
}

std::vector<MemoryTransport::Sent> MemoryTransport::open_requests() const {
    const std::lock_guard lock(mutex_);
    std::vector<Sent> requests;
    for (const auto& [id, open] : open_) requests.push_back({id, open.request});
    return requests;
}

std::size_t MemoryTransport::sent_count() const {
    const std::lock_guard lock(mutex_);
    return last_id_;
}

RequestId MemoryTransport::send(Request request, ResponseHandler& handler) {
    RequestId id = 0;
    {
        const std::lock_guard lock(mutex_);
        id = ++last_id_;
        open_[id] = {request, &handler};
    }
    if (on_request_) on_request_(id, request);
    return id;
}

void MemoryTransport::cancel(RequestId id) {
    const std::lock_guard lock(mutex_);
    open_.erase(id);
}

void MemoryTransport::script(RequestId id, Content content) {
    const std::lock_guard lock(mutex_);
    const auto found = open_.find(id);
    if (found == open_.end() || found->second.ended) return;
    found->second.ended = std::holds_alternative<End>(content);
    waiting_.push_back({id, std::move(content)});
    changed_.notify_all();
}

void MemoryTransport::run_for(std::chrono::milliseconds limit) {
    std::deque<Piece> now;
    {
        std::unique_lock lock(mutex_);
        if (idle_ == Idle::kWait) changed_.wait_for(lock, limit, [&] { return woken_ || !waiting_.empty(); });
        std::swap(now, waiting_);
        if (std::exchange(woken_, false) && now.empty()) return;
    }
    for (const Piece& piece : now) deliver(piece);
    if (now.empty() && idle_ == Idle::kReturn && on_idle_) on_idle_(limit);
}

void MemoryTransport::deliver(const Piece& piece) {
    ResponseHandler* handler = nullptr;
    {
        const std::lock_guard lock(mutex_);
        const auto found = open_.find(piece.id);
        if (found == open_.end()) return;
        handler = found->second.handler;
        if (std::holds_alternative<End>(piece.content)) open_.erase(found);
    }
    // Unlocked: handlers send and cancel.
    if (const auto* head = std::get_if<ResponseHead>(&piece.content)) handler->on_head(*head);
    if (const auto* bytes = std::get_if<std::string>(&piece.content)) handler->on_body(*bytes);
    if (const auto* end = std::get_if<End>(&piece.content)) handler->on_end(end->error);
}

void MemoryTransport::wake() {
    const std::lock_guard lock(mutex_);
    woken_ = true;
    changed_.notify_all();
}

}  // namespace ghostip::source::kubernetes
