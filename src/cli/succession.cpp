#include "cli/succession.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/log.h"

namespace ghostip::cli {
namespace {

constexpr std::chrono::seconds kPatience{15};
// A sync of tens of thousands of Services, which it is in the middle of, comes first.
constexpr std::chrono::seconds kPatienceForWrites{60};

std::vector<relay::NamedListener> named(std::vector<dataplane::Carrier::NamedListener> listeners) {
    std::vector<relay::NamedListener> all;
    all.reserve(listeners.size());
    for (auto& one : listeners) all.push_back({std::move(one.name), one.protocol, std::move(one.sockets)});
    return all;
}

}  // namespace

Result<std::unique_ptr<Succession>> Succession::begin(std::string path, const ServiceManager& manager,
                                                      ServiceManager::Kept kept) {
    std::unique_ptr<Succession> succession(new Succession(std::move(path), manager, std::move(kept)));
    if (succession->path_.empty()) return succession;
    auto asked = relay::Handover::ask(succession->path_, kPatience);
    if (asked) {
        succession->predecessor_ = std::move(*asked);
        if (succession->predecessor_)
            log::info("another ghostip carries traffic here; it has handed over {} listeners",
                      succession->predecessor_->listeners().size());
        return succession;
    }
    if (asked.error().code == EBUSY)
        return asked.error().within("take over from the ghostip that carries traffic here");
    succession->ask_failed_ = true;
    log::warning("{}; started as if no other ghostip carried traffic here", asked.error().message);
    return succession;
}

Succession::~Succession() { end_watch(); }

Succession::Waiting::~Waiting() { succession_.server_.reset(); }

dataplane::Carrier::Inheritance Succession::take_listeners() {
    dataplane::Carrier::Inheritance all = std::exchange(kept_, {});
    if (!predecessor_) {
        if (!all.empty()) log::info("the service manager has kept {} listeners", all.size());
        return all;
    }
    // It serves, so what it does not have is older.
    for (const auto& [name, sockets] : std::exchange(all, {})) manager_.forget(name);
    for (auto& [name, listener] : predecessor_->listeners()) all.emplace(name, std::move(listener.sockets));
    predecessor_->listeners().clear();
    return all;
}

void Succession::watch(std::shared_ptr<dataplane::Carrier> carrier, std::function<void(Error)> give_up) {
    carrier_ = std::move(carrier);
    if (carrier_ && ask_failed_) carrier_->set_another(true);
    give_up_ = [this, tell = std::move(give_up)](const Error& error) {
        gave_up_ = true;
        tell(error.within("take over from the ghostip that carries traffic here"));
    };
    if (predecessor_) begin_watch();
}

// Until it serves, what the predecessor says is of two kinds.
void Succession::begin_watch() {
    watcher_stop_ = Fd(::eventfd(0, EFD_CLOEXEC));
    if (!watcher_stop_)
        return log::warning("{}; the other ghostip is not watched", fail_errno("open an event").message);
    watcher_ = std::thread([this] {
        std::array<pollfd, 2> wanted{pollfd{watcher_stop_.get(), POLLIN, 0}, pollfd{predecessor_->fd(), POLLIN, 0}};
        while (::poll(wanted.data(), wanted.size(), -1) < 0) continue;
        if (wanted[0].revents != 0) return;
        const auto heard = predecessor_->heard();
        if (heard.code != ECONNRESET) return give_up_(heard);
        serve_alone();
    });
}

void Succession::end_watch() {
    if (!watcher_.joinable()) return;
    ::eventfd_write(watcher_stop_.get(), 1);
    watcher_.join();
}

void Succession::serve_alone() {
    alone_ = true;
    log::warning("the ghostip that carried traffic here has ended: serving at its listeners from now on");
    if (!carrier_) return;
    if (const auto resumed = carrier_->resume({}); !resumed)
        log::warning("{}; clients there are not served", resumed.error().message);
}

void Succession::about_to_write() {
    if (!predecessor_) return;
    end_watch();
    if (gave_up_ || alone_) return;
    const auto told = predecessor_->about_to_write(kPatienceForWrites);
    if (!told && told.error().code == ECONNRESET) return serve_alone();
    if (!told) return give_up_(told.error());
    begin_watch();
}

std::shared_ptr<dataplane::ListenerKeeper> Succession::keeper() const {
    class AtServiceManager final : public dataplane::ListenerKeeper {
      public:
        explicit AtServiceManager(const ServiceManager& manager) : manager_(manager) {}
        void keep(const std::string& name, const std::vector<Fd>& sockets) override { manager_.keep(name, sockets); }
        void forget(const std::string& name) override { manager_.forget(name); }

      private:
        const ServiceManager& manager_;
    };
    return manager_.listens() ? std::make_shared<AtServiceManager>(manager_) : nullptr;
}

// Where the predecessor has gone, or does not answer, what it knew is lost, and this process serves. False: it serves
// itself, and this process is to end.
bool Succession::take_over(dataplane::Carrier* carrier) {
    end_watch();
    if (!predecessor_) return true;
    if (gave_up_) return false;
    auto clients = predecessor_->done(carrier ? carrier->held() : std::vector<std::string>());
    if (!clients && clients.error().code == ECANCELED) {
        give_up_(clients.error());
        return false;
    }
    if (!clients) log::warning("{}; the other ghostip goes on, and both write", clients.error().message);
    if (!carrier) return true;
    auto known = clients ? std::move(*clients) : relay::Clients();
    const auto sessions = known.sessions.size();
    const auto affinities = known.affinities.size();
    const auto resumed = carrier->resume(std::move(known));
    if (!resumed)
        log::warning("{}; clients there are not served", resumed.error().message);
    else if (sessions + affinities > 0)
        log::info("of {} UDP clients of the other ghostip {} go on here, of {} clients that stick {} are remembered",
                  sessions, resumed->sessions, affinities, resumed->affinities);
    return true;
}

void Succession::serve(const std::shared_ptr<dataplane::Carrier>& carrier, agent::Agent& agent,
                       const std::function<void(bool open)>& pages) {
    if (carrier) carrier->forget_inheritance();
    for (const auto& [name, sockets] : std::exchange(kept_, {}))
        manager_.forget(name);  // this mode has no use for them
    if (!take_over(carrier.get()) || !carrier || path_.empty()) return;
    relay::HandoverCallbacks callbacks;
    callbacks.successor_came = [carrier, pages]() -> Result<std::vector<relay::NamedListener>> {
        log::info("another ghostip has come to take over");
        pages(false);
        carrier->set_another(true);
        return named(carrier->duplicates());
    };
    callbacks.successor_writes = [&agent] {
        log::info("the other ghostip programs the kernel: nothing is written here until it serves");
        agent.pause();
    };
    callbacks.successor_failed = [&agent, carrier, pages](const Error& error) {
        carrier->set_another(false);
        log::warning("the other ghostip has not taken over ({}): going on", error.message);
        pages(true);
        agent.resume();
    };
    callbacks.let_go = [carrier](const std::vector<std::string>& adopted) {
        auto clients = carrier->let_go(adopted);
        if (clients.affinities.size() > relay::Clients::kMostAffinities)
            log::warning("of the clients that stick only {} are told to the other ghostip",
                         relay::Clients::kMostAffinities);
        if (clients.sessions.size() > relay::Clients::kMostSessions)
            log::warning("of {} UDP clients only {} are handed over", clients.sessions.size(),
                         relay::Clients::kMostSessions);
        return clients;
    };
    callbacks.take_back = [carrier](relay::Clients clients) {
        clients.affinities.clear();  // they are remembered
        if (const auto resumed = carrier->resume(std::move(clients)); !resumed)
            log::warning("{}; clients there are not served", resumed.error().message);
    };
    callbacks.taken = [this, &agent] {
        {
            const std::lock_guard lock(mutex_);
            succeeded_ = true;
        }
        log::info("the other ghostip serves now: ending when the connections have ended that are carried here");
        agent.stop();
    };
    auto server = predecessor_ ? relay::HandoverServer::continue_from(*predecessor_, std::move(callbacks))
                               : relay::HandoverServer::open(path_, std::move(callbacks));
    if (server)
        server_ = std::move(*server);
    else
        log::warning("{}; listeners cannot be handed to another process", server.error().message);
}

bool Succession::succeeded() const {
    const std::lock_guard lock(mutex_);
    return succeeded_;
}

bool Succession::nobody_serves() const {
    return server_ && server_->successor_ended() && !relay::HandoverServer::somebody_waits(path_);
}

}  // namespace ghostip::cli
