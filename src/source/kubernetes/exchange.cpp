#include "source/kubernetes/exchange.h"

#include <utility>

#include <fmt/format.h>

#include "api/problem.h"

namespace ghostip::source::kubernetes {
namespace {

// A Status fits, and of anything else only the beginning is quoted.
constexpr std::size_t kStart = 16 * 1024;

bool is_success(int status) { return status >= 200 && status < 300; }

}  // namespace

Exchange::Exchange(Transport& transport, Request request, Form form, api::Kind kind, ExchangeUser& user)
    : transport_(transport), form_(form), kind_(kind), user_(user) {
    id_ = transport_.send(std::move(request), *this);
}

void Exchange::cancel() {
    if (std::exchange(over_, true)) return;
    transport_.cancel(id_);
}

void Exchange::on_head(const ResponseHead& head) {
    if (over_) return;
    head_ = head;
    for (const auto& text : head.warnings) user_.warning(text);
    if (!is_success(head.status)) return;
    // Without a type it is what was asked for (client-go).
    const auto encoding = head.content_type.empty() ? api::Encoding::kProtobuf : api::encoding_of(head.content_type);
    if (!encoding) {
        transport_.cancel(id_);
        finish(Trouble{Trouble::Kind::kGarbage, head.status,
                       fmt::format("the answer is {}: is that an API server?", api::printable(head.content_type))});
        return;
    }
    if (form_ == Form::kList)
        list_ = api::ListDecoder::create(*encoding, kind_, *this);
    else
        watch_ = api::WatchDecoder::create(*encoding, kind_, *this);
    user_.opened();
}

void Exchange::on_body(std::string_view bytes) {
    if (over_) return;
    if (start_.size() < kStart) start_.append(bytes.substr(0, kStart - start_.size()));
    if (!list_ && !watch_) return;
    auto fed = list_ ? list_->feed(bytes) : watch_->feed(bytes);
    if (over_) return;  // given up while it was read
    if (error_event_) {
        transport_.cancel(id_);
        finish(trouble_of(*error_event_));
    } else if (!fed) {
        transport_.cancel(id_);
        finish(garbage(fed.error()));
    } else {
        user_.fed();
    }
}

void Exchange::on_end(const std::optional<TransportError>& error) {
    if (over_) return;
    api::ListMeta list;
    auto trouble = read_end(error, list);
    finish(std::move(trouble), std::move(list));
}

std::optional<Trouble> Exchange::read_end(const std::optional<TransportError>& error, api::ListMeta& list) {
    if (!list_ && !watch_) {
        // An answer that is no success counts even if it is cut short: the server did speak.
        if (head_.status != 0) return trouble_of(head_, start_);
        return error ? trouble_of(*error) : Trouble{Trouble::Kind::kBroken, 0, "the answer is empty"};
    }
    if (error) return trouble_of(*error);
    if (watch_) {
        if (auto whole = watch_->finish(); !whole)
            return Trouble{Trouble::Kind::kBroken, 0, fmt::format("the answer is cut: {}", whole.error().message)};
        return std::nullopt;
    }
    auto meta = list_->finish();
    if (!meta) return garbage(meta.error());
    list = std::move(*meta);
    return std::nullopt;
}

// Perhaps it is a Status all the same.
Trouble Exchange::garbage(const Error& error) const {
    const auto encoding = head_.content_type.empty() ? api::Encoding::kProtobuf : api::encoding_of(head_.content_type);
    if (encoding && start_.size() < kStart)
        if (auto status = api::decode_status(*encoding, start_)) return trouble_of(*status);
    return {Trouble::Kind::kGarbage, head_.status, fmt::format("the answer makes no sense: {}", error.message)};
}

void Exchange::finish(std::optional<Trouble> trouble, api::ListMeta list) {
    over_ = true;
    user_.ended({std::move(trouble), list_ || watch_, std::move(list)});
}

void Exchange::received(api::Received received) {
    if (over_ || error_event_) return;
    if (received.type == api::EventType::kError)
        error_event_ = std::move(received.status);
    else
        user_.received(std::move(received));
}

void Exchange::problem(api::Problem problem) {
    if (!over_) user_.problem(std::move(problem));
}

}  // namespace ghostip::source::kubernetes
