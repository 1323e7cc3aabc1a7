#include "dataplane/nftables/element_changes.h"

#include <algorithm>

namespace ghostip::dataplane::nftables {

void PackedElements::add(const SetRef& set, std::span<const std::uint8_t> key, std::span<const std::uint8_t> data) {
    auto& elements = sets_[set];
    if (elements.key_bytes == 0) {
        elements.set = set_name(set);
        elements.key_bytes = static_cast<std::uint16_t>(key.size());
        elements.data_bytes = static_cast<std::uint16_t>(data.size());
    }
    elements.bytes.insert(elements.bytes.end(), key.begin(), key.end());
    elements.bytes.insert(elements.bytes.end(), data.begin(), data.end());
}

void ElementList::add(const SetRef& set, std::span<const std::uint8_t> key, std::span<const std::uint8_t> data) {
    Element element{set, static_cast<std::uint8_t>(key.size()), static_cast<std::uint8_t>(data.size()), {}};
    std::copy(key.begin(), key.end(), element.bytes.begin());
    std::copy(data.begin(), data.end(), element.bytes.begin() + static_cast<std::ptrdiff_t>(key.size()));
    elements_.push_back(element);
}

const std::vector<ElementList::Element>& ElementList::sorted() {
    std::sort(elements_.begin(), elements_.end());
    return elements_;
}

void difference(ElementList& before, ElementList& after, std::vector<ElementList::Element>& deleted,
                std::vector<ElementList::Element>& added) {
    const auto& old_elements = before.sorted();
    const auto& new_elements = after.sorted();
    auto gone = old_elements.begin();
    auto come = new_elements.begin();
    while (gone != old_elements.end() || come != new_elements.end()) {
        const bool only_old = come == new_elements.end() || (gone != old_elements.end() && *gone < *come);
        const bool only_new = gone == old_elements.end() || (come != new_elements.end() && *come < *gone);
        if (only_old) {
            deleted.push_back(*gone);
            ++gone;
        } else if (only_new) {
            added.push_back(*come);
            ++come;
        } else {
            ++gone;
            ++come;
        }
    }
}

}  // namespace ghostip::dataplane::nftables
