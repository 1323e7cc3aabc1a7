// The objects of one kind as the consumer knows them: what a new state is compared with. Single-threaded.
//
// An entry is a shared pointer to the cut-down object and nothing else: keys are read from the object, resource
// versions are not kept. Two stores share the objects that they agree on.
#pragma once

#include <cstddef>
#include <optional>
#include <unordered_set>
#include <vector>

#include "api/objects.h"
#include "api/source.h"
#include "source/manifests/key_view.h"

namespace ghostip::source::kubernetes {

class ObjectStore {
  public:
    [[nodiscard]] const api::Object* find(const api::ObjectKey& key) const;
    // Whether that changed anything that is kept.
    bool put(api::Object object);
    // Whether it was there.
    bool remove(const api::ObjectKey& key);

    [[nodiscard]] std::size_t size() const { return objects_.size(); }
    [[nodiscard]] auto begin() const { return objects_.begin(); }
    [[nodiscard]] auto end() const { return objects_.end(); }

  private:
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(const KeyView& key) const noexcept { return KeyViewHash{}(key); }
        std::size_t operator()(const api::Object& object) const noexcept { return KeyViewHash{}(key_view(object)); }
    };
    struct Equal {
        using is_transparent = void;
        template <typename A, typename B>
        bool operator()(const A& a, const B& b) const {
            return view(a) == view(b);
        }
        static KeyView view(const KeyView& key) { return key; }
        static KeyView view(const api::Object& object) { return key_view(object); }
    };
    std::unordered_set<api::Object, Hash, Equal> objects_;
};

// What turns `now` into `next`.
[[nodiscard]] std::vector<api::Change> differences(const ObjectStore& now, const ObjectStore& next);

}  // namespace ghostip::source::kubernetes
