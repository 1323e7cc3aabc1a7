#include "source/kubernetes/object_store.h"

#include <utility>

namespace ghostip::source::kubernetes {

const api::Object* ObjectStore::find(const api::ObjectKey& key) const {
    const auto found = objects_.find(key_view(key));
    return found == objects_.end() ? nullptr : &*found;
}

bool ObjectStore::put(api::Object object) {
    const auto found = objects_.find(object);
    if (found == objects_.end()) {
        objects_.insert(std::move(object));
        return true;
    }
    if (api::same_content(*found, object)) return false;
    auto node = objects_.extract(found);
    node.value() = std::move(object);
    objects_.insert(std::move(node));
    return true;
}

bool ObjectStore::remove(const api::ObjectKey& key) {
    const auto found = objects_.find(key_view(key));
    if (found == objects_.end()) return false;
    objects_.erase(found);
    return true;
}

std::vector<api::Change> differences(const ObjectStore& now, const ObjectStore& next) {
    std::vector<api::Change> changes;
    for (const auto& object : next) {
        api::ObjectKey key = api::key_of(object);
        const auto* known = now.find(key);
        // Equal pointers are the common case: the next state takes over what it shares with this one.
        if (known != nullptr && (*known == object || api::same_content(*known, object))) continue;
        changes.push_back({std::move(key), object});
    }
    for (const auto& object : now)
        if (api::ObjectKey key = api::key_of(object); next.find(key) == nullptr)
            changes.push_back({std::move(key), std::nullopt});
    return changes;
}

}  // namespace ghostip::source::kubernetes
