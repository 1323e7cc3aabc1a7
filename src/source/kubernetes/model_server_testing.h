// For tests: a model of an API server that does everything at the wrong moment. It holds objects of all kinds under one
// resource version, as etcd does, and answers lists, pages, watches and streaming lists over a MemoryTransport, in JSON
// and in whatever else it is given a Wire for. Random, and the same for the same dice. One thread at a time.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <random>
#include <regex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "source/kubernetes/memory_transport.h"
#include "source/kubernetes/wire_testing.h"

namespace ghostip::source::kubernetes::testing {

class Dice {
  public:
    explicit Dice(std::uint64_t seed) : engine_(seed) {}
    [[nodiscard]] std::size_t below(std::size_t limit) { return limit == 0 ? 0 : engine_() % limit; }
    [[nodiscard]] bool one_in(std::size_t n) { return below(n) == 0; }
    [[nodiscard]] double unit() { return std::uniform_real_distribution<double>(0, 1)(engine_); }

  private:
    std::mt19937_64 engine_;
};

// What a target asks for; empty: does not say.
inline std::string parameter(const std::string& target, const std::string& name) {
    std::smatch match;
    return std::regex_search(target, match, std::regex("[?&]" + name + "=([^&]*)")) ? match[1].str() : "";
}

class ModelServer {
  public:
    // All outlive the server. `protobuf` may be null: then it only speaks JSON.
    ModelServer(MemoryTransport& transport, Dice& dice, const Wire& json, const Wire* protobuf)
        : transport_(transport), dice_(dice), json_(json), protobuf_(protobuf) {
        transport.on_request([this](RequestId id, const Request& request) { answer(id, request); });
    }

    // ---- What users do.

    // A broken one is written in a way that nobody can read.
    void put(const api::Object& object, Wire::Is state = Wire::Is::kWell) {
        const auto key = api::key_of(object);
        auto& place = state_.objects[key];
        deletions_.try_emplace(key, 0);
        auto before = std::exchange(place, std::make_shared<Stored>(Stored{object, ++state_.version, state}));
        // For who selects by it, it is deleted.
        if (before && selected(before->object, node_name) && !selected(object, node_name)) ++deletions_[key];
        happen({state_.version, std::move(before), place});
    }
    void remove(const api::ObjectKey& key) {
        const auto found = state_.objects.find(key);
        if (found == state_.objects.end()) return;
        ++deletions_[key];
        auto last = *found->second;
        last.version = ++state_.version;
        state_.objects.erase(found);
        happen({state_.version, std::make_shared<Stored>(std::move(last)), nullptr});
    }
    void repair_objects() {
        for (const auto& [key, stored] : std::map(state_.objects))
            if (stored->state == Wire::Is::kBroken) put(stored->object);
    }

    // ---- What operators and time do.

    void compact() {
        state_.compacted = state_.version;
        state_.history.clear();
    }
    // What a restore brings back, and what a list at version 0 may still see.
    void keep_copies() {
        backup_ = state_;
        cached_ = state_;
    }
    // Refuses everybody from now on; then it comes back as it was, or as the copy.
    void go_down() {
        drop_watches();
        down_ = true;
    }
    void come_back() { down_ = false; }
    void come_back_from_backup() {
        come_back();
        state_ = backup_;
        cached_ = state_;
        // What was written since is gone, as if deleted.
        for (auto& [key, count] : deletions_) ++count;
    }
    void drop_watches() {
        for (const auto& sent : transport_.open_requests()) break_off(sent.id);
        watches_.clear();
    }
    void bookmarks() {
        for (const auto& [id, watch] : watches_)
            if (watch.from <= state_.version && !unfinished_.contains(id))
                transport_.body(id, watch.wire->bookmark(*kind_of(watch.target), state_.version, false));
    }
    // Streaming lists say that all is there.
    void finish_streams() {
        for (const auto id : std::exchange(unfinished_, {})) {
            const auto found = watches_.find(id);
            if (found == watches_.end()) continue;
            const auto& watch = found->second;
            say(id, watch.wire->bookmark(*kind_of(watch.target), state_.version, true));
        }
    }
    void close_some_watch() {
        if (watches_.empty()) return;
        const auto some = std::next(watches_.begin(), static_cast<std::ptrdiff_t>(dice_.below(watches_.size())));
        transport_.end(some->first);
        watches_.erase(some);
    }

    // ---- What is so.

    // How often an object may have been taken away by now.
    [[nodiscard]] int deletions(const api::ObjectKey& key) const {
        const auto found = deletions_.find(key);
        return found == deletions_.end() ? 0 : found->second;
    }
    // Those that a client is shown, with the selectors that kube-proxy sends.
    [[nodiscard]] std::vector<api::Object> objects() const {
        std::vector<api::Object> all;
        for (const auto& [key, stored] : state_.objects)
            if (!unknown.contains(key.kind) && selected(stored->object, node_name)) all.push_back(stored->object);
        return all;
    }
    [[nodiscard]] bool has(const api::ObjectKey& key) const { return state_.objects.contains(key); }

    bool faults = true;
    bool streams = true;                    // offers the streaming list
    bool speaks_protobuf = true;            // if there is a Wire for it
    std::set<api::Kind> unknown;            // kinds of a later version of Kubernetes
    std::string node_name = "n1";           // whose Node a client is shown
    std::map<std::string, int> happenings;  // how often what was said, so that a test can see that it saw everything

  private:
    struct Stored {
        api::Object object;
        int version = 0;
        Wire::Is state = Wire::Is::kWell;
        std::map<const Wire*, std::string> written = {};
    };
    using StoredPtr = std::shared_ptr<Stored>;
    struct Happened {
        int version = 0;
        StoredPtr before;  // null: came; with the event's version if it went
        StoredPtr after;   // null: went
    };
    // What etcd holds, and what the watch cache remembers of how it came.
    struct State {
        std::map<api::ObjectKey, StoredPtr> objects;
        int version = 1;
        std::deque<Happened> history;
        int compacted = 0;  // events up to this version are forgotten
    };
    struct Watch {
        int from = 0;
        const Wire* wire = nullptr;
        std::string target;
    };
    struct Snapshot {
        std::vector<StoredPtr> left;
        int version = 0;
    };

    static std::optional<api::Kind> kind_of(const std::string& target) {
        const auto path = target.substr(0, target.find('?'));
        if (path == "/api/v1/services") return api::Kind::kService;
        if (path == "/api/v1/nodes") return api::Kind::kNode;
        if (path == "/apis/discovery.k8s.io/v1/endpointslices") return api::Kind::kEndpointSlice;
        if (path == "/apis/networking.k8s.io/v1/servicecidrs") return api::Kind::kServiceCidr;
        return std::nullopt;
    }
    static bool selected(const api::Object& object, const std::string& node) {
        if (const auto* service = std::get_if<std::shared_ptr<const api::Service>>(&object))
            return !(*service)->headless && !(*service)->proxied_elsewhere;
        if (const auto* slice = std::get_if<std::shared_ptr<const api::EndpointSlice>>(&object))
            return !(*slice)->headless;
        if (const auto* found = std::get_if<std::shared_ptr<const api::Node>>(&object)) return (*found)->name == node;
        return true;
    }
    // Whether the client asked for it, by selectors that it did send.
    [[nodiscard]] bool shown(const Stored& stored, const std::string& target) const {
        const auto kind = kind_of(target);
        if (!kind || api::key_of(stored.object).kind != *kind) return false;
        const bool asks = *kind == api::Kind::kService || *kind == api::Kind::kNode
                              ? !parameter(target, "fieldSelector").empty()
                              : !parameter(target, "labelSelector").empty();
        return !asks || selected(stored.object, node_name);
    }
    static const std::string& written(Stored& stored, const Wire& wire) {
        auto& text = stored.written[&wire];
        if (text.empty()) text = wire.object(stored.object, stored.version, stored.state);
        return text;
    }

    // As one client sees it: an object may leave its selection, or come into it.
    [[nodiscard]] std::string line(const Happened& happened, const Watch& watch) const {
        const bool was = happened.before && shown(*happened.before, watch.target);
        const bool is = happened.after && shown(*happened.after, watch.target);
        if (!was && !is) return {};
        const auto kind = *kind_of(watch.target);
        if (is) return watch.wire->event(was ? "MODIFIED" : "ADDED", kind, written(*happened.after, *watch.wire));
        Stored last = *happened.before;
        last.version = happened.version;
        return watch.wire->event("DELETED", kind, watch.wire->object(last.object, last.version, last.state));
    }
    void happen(Happened happened) {
        for (const auto& [id, watch] : watches_)
            if (watch.from < happened.version) say(id, line(happened, watch));
        state_.history.push_back(std::move(happened));
    }

    void answer(RequestId id, const Request& request) {
        if (down_) return transport_.end(id, TransportError::Kind::kRefused, "refused");
        const auto& target = request.target;
        const bool protobuf = protobuf_ != nullptr && speaks_protobuf && accepts(request, "protobuf");
        const Wire& wire = protobuf ? *protobuf_ : json_;
        ++happenings[protobuf ? "protobuf" : "JSON"];
        if (faults && dice_.one_in(4) && misbehave(id, wire)) return;
        const auto kind = kind_of(target);
        if (!kind || unknown.contains(*kind)) return transport_.answer(id, 404, "text/plain", "404 page not found\n");
        if (!protobuf && !accepts(request, "json") && !accepts(request, "*/*"))
            return refuse(id, json_, 406, "NotAcceptable", "only JSON is spoken here");
        const std::string version = parameter(target, "resourceVersion");
        if (parameter(target, "watch") != "true")
            answer_list(id, request, wire);
        else if (!parameter(target, "sendInitialEvents").empty())
            answer_stream(id, request, wire, version);
        else
            answer_watch(id, request, wire, version);
    }
    static bool accepts(const Request& request, std::string_view type) {
        return request.accept.find(type) != std::string::npos;
    }
    void refuse(RequestId id, const Wire& wire, int code, std::string_view reason, std::string_view message) {
        ++happenings[fmt::format("{} {}", code, reason)];
        transport_.answer(id, code, wire.media_type(Wire::Form::kList), wire.status(code, reason, message));
    }
    void refuse_version(RequestId id, const Wire& wire) {
        refuse(id, wire, 504, "Timeout", "Timeout: Too large resource version: 99, current: 5");
    }

    void answer_list(RequestId id, const Request& request, const Wire& wire) {
        const auto& target = request.target;
        const auto version = parameter(target, "resourceVersion");
        if (!version.empty() && std::stoi(version) > state_.version) return refuse_version(id, wire);
        const auto kind = *kind_of(target);
        auto& listing = snapshots_[kind];
        if (parameter(target, "continue").empty()) {
            // From the cache, which may be behind, or the newest.
            const State& from = version == "0" ? cached_ : state_;
            listing = {{}, from.version};
            for (const auto& [key, stored] : from.objects)
                if (shown(*stored, target)) listing.left.push_back(stored);
        } else if (dice_.one_in(5) && faults) {
            return refuse(id, wire, 410, "Expired", "too old a page");
        }
        const std::size_t size = parameter(target, "limit").empty() ? 1000 : 1 + dice_.below(4);
        const auto end = listing.left.begin() + static_cast<std::ptrdiff_t>(std::min(size, listing.left.size()));
        std::vector<std::string> items;
        for (auto item = listing.left.begin(); item != end; ++item) items.push_back(written(**item, wire));
        listing.left.erase(listing.left.begin(), end);
        ++happenings["list"];
        transport_.head(id, 200, wire.media_type(Wire::Form::kList));
        say(id, wire.list(kind, items, listing.version, listing.left.empty() ? "" : "more"));
        transport_.end(id);
    }

    void answer_stream(RequestId id, const Request& request, const Wire& wire, const std::string& version) {
        if (!streams) return refuse(id, wire, 422, "Invalid", "no WatchList");
        if (!version.empty() && std::stoi(version) > state_.version) return refuse_version(id, wire);
        const auto kind = *kind_of(request.target);
        ++happenings["streaming list"];
        transport_.head(id, 200, wire.media_type(Wire::Form::kWatch));
        for (const auto& [key, stored] : state_.objects) {
            if (!shown(*stored, request.target)) continue;
            if (faults && dice_.one_in(60)) return break_off(id);
            say(id, wire.event("ADDED", kind, written(*stored, wire)));
        }
        watches_[id] = {state_.version, &wire, request.target};
        unfinished_.insert(id);
        // Else it takes a while, and what happens meanwhile is a part of the list.
        if (!faults || !dice_.one_in(3)) finish_streams();
    }

    void answer_watch(RequestId id, const Request& request, const Wire& wire, const std::string& version) {
        const int from = std::stoi(version);
        if (from < state_.compacted && dice_.one_in(2))
            return refuse(id, wire, 410, "Expired", "too old resource version");
        ++happenings["watch"];
        transport_.head(id, 200, wire.media_type(Wire::Form::kWatch));
        if (from < state_.compacted) {
            ++happenings["410 in a watch"];
            say(id, wire.error_event(410, "Expired"));
            transport_.end(id);
            return;
        }
        const Watch watch{from, &wire, request.target};
        for (const auto& happened : state_.history)
            if (happened.version > from) say(id, line(happened, watch));
        // From a version of the future nothing is said at all until it has come.
        watches_[id] = watch;
    }

    // Pieces of any size, and sometimes not all of them.
    void say(RequestId id, const std::string& bytes) {
        if (bytes.empty()) return;
        if (faults && dice_.one_in(50)) {
            transport_.body(id, bytes.substr(0, dice_.below(bytes.size())));
            return break_off(id);
        }
        const std::size_t cut = dice_.below(bytes.size());
        transport_.body(id, bytes.substr(0, cut));
        transport_.body(id, bytes.substr(cut));
    }
    void break_off(RequestId id) {
        ++happenings["broken off"];
        if (dice_.one_in(3))
            transport_.end(id);
        else
            transport_.end(id, TransportError::Kind::kBroken, "broken");
    }

    bool misbehave(RequestId id, const Wire& wire) {
        const std::string type = wire.media_type(Wire::Form::kList);
        switch (dice_.below(13)) {
            case 0: transport_.end(id, TransportError::Kind::kRefused, "refused"); return true;
            case 1: transport_.end(id, TransportError::Kind::kBroken, "reset"); return true;
            case 2: transport_.end(id, TransportError::Kind::kTimeout, "timeout"); return true;
            case 3: refuse(id, wire, 401, "Unauthorized", "because"); return true;
            case 4: refuse(id, wire, 403, "Forbidden", "because"); return true;
            case 5:
                transport_.head(id, {429, type, std::chrono::seconds(3), {}});
                transport_.end(id);
                return true;
            case 6: refuse(id, wire, 500, "InternalError", "because"); return true;
            case 7: transport_.answer(id, 503, "text/plain", "no upstream"); return true;
            case 8: transport_.answer(id, 200, "text/html", "<html>"); return true;
            case 9: transport_.answer(id, 200, type, "{\"garbage\": tru"); return true;
            case 10: transport_.answer(id, 200, type, wire.status(500, "InternalError", "because")); return true;
            case 11: transport_.answer(id, 200, type, wire.error_event(500, "InternalError")); return true;
            case 12: return true;  // silence
            default: return false;
        }
    }

    MemoryTransport& transport_;
    Dice& dice_;
    const Wire& json_;
    const Wire* const protobuf_;
    State state_;
    State backup_;
    State cached_;
    std::map<api::Kind, Snapshot> snapshots_;  // what pages are cut from
    std::map<RequestId, Watch> watches_;
    std::set<RequestId> unfinished_;  // streaming lists
    std::map<api::ObjectKey, int> deletions_;
    bool down_ = false;
};

}  // namespace ghostip::source::kubernetes::testing
