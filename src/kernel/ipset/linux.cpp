#include "kernel/ipset/linux.h"

#include <linux/netfilter/ipset/ip_set.h>

#include <algorithm>

namespace ghostip::kernel::ipset {
namespace {

Error none() { return {"this kernel has no IP sets (module ip_set is neither built in nor loadable)", ENOENT}; }

// With an errno value instead of ip_set's own number, and its words.
Error translated(const Error& error, const std::string& what) {
    const int code = errno_of(error.code);
    return code == error.code ? error : errno_error(code, fmt::format("{} (ip_set's error {})", what, error.code));
}

}  // namespace

Result<std::unique_ptr<LinuxSets>> LinuxSets::open() {
    auto opened = netlink::Socket::open(NETLINK_NETFILTER);
    if (!opened && opened.error().code == EPROTONOSUPPORT) return none();  // not even netfilter's part of netlink
    if (!opened) return opened.error();
    auto socket = std::move(*opened);
    netlink::Request request;
    std::optional<Revisions> spoken;
    const auto found = socket.ask(put_protocol(request), "ask for IP sets",
                                  [&](const nlmsghdr* answer) { spoken = read_protocol(answer); });
    // EINVAL: nobody in the kernel listens to this part of nfnetlink.
    if (!found && found.error().code == EINVAL) return none();
    RETURN_IF_ERROR(found);
    if (!spoken) return fail("ask for IP sets: the kernel tells no version");
    if (spoken->least > IPSET_PROTOCOL_MIN || spoken->most < IPSET_PROTOCOL_MIN)
        return fail("IP sets: the kernel speaks versions {} to {} of the protocol, this program {}", spoken->least,
                    spoken->most, IPSET_PROTOCOL_MIN);
    return std::unique_ptr<LinuxSets>(new LinuxSets(std::move(socket)));
}

Result<void> LinuxSets::ask(nlmsghdr* request, const std::string& what, const netlink::Socket::Visit& visit) {
    const auto done = socket_.ask(request, what, visit);
    if (!done) return translated(done.error(), what);
    return {};
}

Result<void> LinuxSets::create(const Definition& definition) {
    const auto what = fmt::format("create IP set {} ({})", definition.name, type_name(definition.type));
    netlink::Request request;
    const auto known = std::pair(definition.type, definition.family);
    if (!revisions_.contains(known)) {
        std::optional<Revisions> range;
        RETURN_IF_ERROR(ask(put_type(request, definition.type, definition.family), what,
                            [&](const nlmsghdr* answer) { range = read_type(answer); }));
        if (!range) return fail("{}: the kernel tells no revision of the type", what);
        revisions_[known] = revision_of(definition.type, *range);
    }
    const auto revision = revisions_[known];
    auto made = ask(put_create(request, definition, revision, IfThere::kRefuse), what);
    if (made || made.error().code != EEXIST) return made;
    RETURN_IF_ERROR(ask(put_create(request, definition, revision, IfThere::kTakeSimilar), what));
    if (definition.type == Type::kPort) return {};
    std::vector<Contents> there;
    RETURN_IF_ERROR(ask(put_header(request, definition.name), what,
                        [&](const nlmsghdr* answer) { (void)read_part(answer, there); }));
    if (there.size() == 1 && there.front().header.family == definition.family) return {};
    return errno_error(EEXIST, what);
}

Result<std::vector<Contents>> LinuxSets::list(nlmsghdr* request, const std::string& what) {
    std::vector<Contents> sets;
    bool whole = true;
    const auto done =
        socket_.list(request, what, [&](const nlmsghdr* part) { whole = whole && read_part(part, sets); });
    if (!done) return translated(done.error(), what);
    if (!whole) return fail("{}: an answer that cannot be read", what);
    return sets;
}

Result<std::vector<Header>> LinuxSets::headers() {
    netlink::Request request;
    ASSIGN_OR_RETURN(const auto sets, list(put_list(request), "list IP sets"));
    std::vector<Header> all;
    all.reserve(sets.size());
    for (const auto& set : sets) all.push_back(set.header);
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    return all;
}

Result<std::optional<Contents>> LinuxSets::contents(const std::string& name) {
    netlink::Request request;
    auto sets = list(put_list_one(request, name), "list IP set " + name);
    if (!sets && sets.error().code == ENOENT) return std::optional<Contents>();
    if (!sets) return sets.error();
    if (sets->size() != 1) return fail("list IP set {}: {} sets answer", name, sets->size());
    return std::optional(std::move(sets->front()));
}

Result<std::vector<Refusal>> LinuxSets::add(const std::string& name, Type type, std::span<const Element> elements) {
    return change(Verb::kAdd, name, type, elements);
}

Result<std::vector<Refusal>> LinuxSets::remove(const std::string& name, Type type, std::span<const Element> elements) {
    return change(Verb::kRemove, name, type, elements);
}

// A message ends at the first element that is refused; what is behind it goes out again.
Result<std::vector<Refusal>> LinuxSets::change(Verb verb, const std::string& name, Type type,
                                               std::span<const Element> elements) {
    struct Part {
        std::size_t first;
        std::size_t behind;
    };
    const auto what = fmt::format("{} IP set {}", verb == Verb::kAdd ? "add to" : "remove from", name);
    std::vector<Refusal> refusals;
    std::vector<Part> parts{{0, elements.size()}};
    while (!parts.empty()) {
        netlink::Batch batch;
        std::vector<Part> sent;
        for (const auto& part : parts)
            for (std::size_t first = part.first, next = 0; first < part.behind; first = next) {
                netlink::Request request;
                batch.add(put_elements(request, verb, name, type, elements.first(part.behind), first, next));
                sent.push_back({first, next});
            }
        parts.clear();
        std::optional<Error> failure;
        RETURN_IF_ERROR(socket_.ask_all(batch, what, [&](std::size_t index, int code, const nlmsghdr* answer) {
            const auto& part = sent[index];
            const auto line = refused_line(answer);
            if (!line || *line <= part.first || *line > part.behind) {
                failure = translated(errno_error(code, what), what);
                return;
            }
            const std::size_t element = *line - 1;
            const auto about = fmt::format("{}: {}", what, text(type, elements[element]));
            refusals.push_back({element, translated(errno_error(code, about), about)});
            if (element + 1 < part.behind) parts.push_back({element + 1, part.behind});
        }));
        if (failure) return *failure;
    }
    std::sort(refusals.begin(), refusals.end(), [](const auto& a, const auto& b) { return a.element < b.element; });
    return refusals;
}

Result<void> LinuxSets::swap(const std::string& one, const std::string& other) {
    netlink::Request request;
    return ask(put_swap(request, one, other), fmt::format("swap IP sets {} and {}", one, other));
}

Result<bool> LinuxSets::destroy(const std::string& name) {
    netlink::Request request;
    const auto done = ask(put_destroy(request, name), "destroy IP set " + name);
    if (done) return true;
    if (done.error().code == ENOENT) return false;
    return done.error();
}

}  // namespace ghostip::kernel::ipset
