#include "dataplane/nftables/piece.h"

#include <cerrno>
#include <iterator>
#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "dataplane/nftables/element_text.h"

namespace ghostip::dataplane::nftables {

using kernel::nft::AddElements;
using kernel::nft::Batch;
using kernel::nft::DeleteElements;
using kernel::nft::Operation;
using kernel::nft::Refusal;

namespace {

bool is_mismatch(int code) { return code == ENOENT || code == EEXIST; }

void append(std::vector<Operation>& to, const std::vector<Operation>& from) {
    to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

bool is_refusal(int code) {
    switch (code) {
        case 0:       // no errno value: the kernel did not answer
        case ENOMEM:  // these pass
        case ENOBUFS:
        case EINTR:
        case EBUSY:
        case EAGAIN:
        case EPERM:  // these concern everything
        case EMSGSIZE:
        case EIO:
        case EBADMSG:
        case ECONNREFUSED:
        case ENFILE:  // a set is full, which ours never are: somebody declared it
            return false;
        default: return true;
    }
}

std::string text_of(const Piece& piece, net::Family family) {
    if (piece.size() == 0) return "nothing";
    const auto& element = piece.added.empty() ? piece.deleted.front() : piece.added.front();
    std::vector<std::uint8_t> bytes(element.key().begin(), element.key().end());
    bytes.insert(bytes.end(), element.data().begin(), element.data().end());
    return fmt::format("{} {}", set_name(element.set), element_text(element.set, bytes, family));
}

struct PieceWriter::Built {
    Batch batch;
    std::map<std::size_t, std::vector<std::uint32_t>> owners;  // by operation: the piece of each element
};

void PieceWriter::first(std::vector<Operation> operations) {
    first_.insert(first_.end(), std::make_move_iterator(operations.begin()), std::make_move_iterator(operations.end()));
}

Result<void> PieceWriter::add(Piece piece) {
    if (!pieces_.empty() && elements_ + piece.size() > elements_at_once_) {
        elements_ = 0;
        RETURN_IF_ERROR(commit(std::exchange(first_, {}), std::exchange(pieces_, {}), {}));
    }
    elements_ += piece.size();
    pieces_.push_back(std::move(piece));
    return {};
}

Result<void> PieceWriter::finish(const std::vector<Operation>& last) {
    elements_ = 0;
    return commit(std::exchange(first_, {}), std::exchange(pieces_, {}), last);
}

PieceWriter::Built PieceWriter::build(const Operations& first, const Pieces& pieces, const Operations& last) const {
    Built built;
    built.batch.table = table_;
    append(built.batch.operations, first);
    const auto put = [&](auto member, auto operation) {
        PackedElements packed;
        std::map<SetRef, std::vector<std::uint32_t>> owners;
        for (std::uint32_t i = 0; i < pieces.size(); ++i)
            for (const auto& element : pieces[i].*member) {
                packed.add(element.set, element.key(), element.data());
                owners[element.set].push_back(i);
            }
        for (auto& [ref, elements] : packed.sets()) {
            built.owners[built.batch.operations.size()] = std::move(owners[ref]);
            built.batch.operations.emplace_back(decltype(operation){std::move(elements)});
        }
    };
    put(&Piece::deleted, DeleteElements{});
    put(&Piece::added, AddElements{});
    append(built.batch.operations, last);
    return built;
}

void PieceWriter::landed(const Pieces& pieces) {
    for (const auto& piece : pieces) {
        outcome_.elements_deleted += piece.deleted.size();
        outcome_.elements_added += piece.added.size();
        done_(piece, nullptr);
    }
}

// Each turn either ends or has one piece less.
Result<void> PieceWriter::commit(const Operations& first, Pieces pieces, const Operations& last) {
    while (true) {
        const Built built = build(first, pieces, last);
        if (built.batch.empty()) {
            landed(pieces);
            return {};
        }
        Refusal refusal;
        const auto start = std::chrono::steady_clock::now();
        const auto result = kernel_.commit(built.batch, &refusal);
        if (result) {
            outcome_.committed(start);
            landed(pieces);
            return {};
        }
        const int code = result.error().code;
        // The socket's buffer is small and may not grow (no CAP_NET_ADMIN in the first user namespace): smaller
        // batches.
        if (code == EMSGSIZE && pieces.size() > 1) return halve(first, std::move(pieces), last);
        if (!is_refusal(code) || (mismatch_ == Mismatch::kError && is_mismatch(code))) return result.error();

        std::optional<std::size_t> culprit;
        if (refusal.operation) {
            const auto owners = built.owners.find(*refusal.operation);
            if (owners == built.owners.end()) return result.error();  // the structure: that is everybody's
            const auto& who = owners->second;
            if (refusal.element && *refusal.element < who.size()) culprit = who[*refusal.element];
            if (who.front() == who.back()) culprit = who.front();  // all are of one piece
        } else if (pieces.size() == 1 && first.empty() && last.empty()) {
            culprit = 0;
        }
        if (!culprit) return pieces.empty() ? result.error() : halve(first, std::move(pieces), last);
        done_(pieces[*culprit], &result.error());
        pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(*culprit));
    }
}

// The kernel does not say where: look for it by halves, the operations around the pieces on their own.
Result<void> PieceWriter::halve(const Operations& first, Pieces pieces, const Operations& last) {
    if (!first.empty() || !last.empty()) {
        RETURN_IF_ERROR(commit(first, {}, {}));
        RETURN_IF_ERROR(commit({}, std::move(pieces), {}));
        return commit({}, {}, last);
    }
    const auto middle = pieces.begin() + static_cast<std::ptrdiff_t>(pieces.size() / 2);
    Pieces second(std::make_move_iterator(middle), std::make_move_iterator(pieces.end()));
    pieces.erase(middle, pieces.end());
    RETURN_IF_ERROR(commit({}, std::move(pieces), {}));
    return commit({}, std::move(second), {});
}

}  // namespace ghostip::dataplane::nftables
