#include "source/manifests/manifest_set.h"

#include <sys/stat.h>

#include <algorithm>
#include <optional>

#include <fmt/format.h>

namespace ghostip::source {
namespace {

bool by_key(const api::Decoded& a, const api::Decoded& b) { return key_view(a.object) < key_view(b.object); }

// The entry of a sorted list, or null.
const api::Decoded* find(const std::vector<api::Decoded>& objects, const KeyView& key) {
    const auto at = std::lower_bound(
        objects.begin(), objects.end(), key,
        [](const api::Decoded& entry, const KeyView& wanted) { return key_view(entry.object) < wanted; });
    return at != objects.end() && key_view(at->object) == key ? &*at : nullptr;
}

// Not those that a proxy's watch would leave out (label selectors of the reference implementation).
bool is_served(const api::Object& object) {
    if (const auto* service = std::get_if<std::shared_ptr<const api::Service>>(&object))
        return !(*service)->proxied_elsewhere;
    if (const auto* slice = std::get_if<std::shared_ptr<const api::EndpointSlice>>(&object)) return !(*slice)->headless;
    return true;
}

// From one state of an object to another, as a consumer sees it. Null: not there.
void add_change(const api::ObjectKey& key, const api::Object* before, const api::Object* after, Delivery& delivery) {
    if (before != nullptr && !is_served(*before)) before = nullptr;
    if (after != nullptr && !is_served(*after)) after = nullptr;
    if (before == nullptr && after == nullptr) return;
    if (before != nullptr && after != nullptr && api::same_content(*before, *after)) return;
    delivery.changes.push_back({key, after == nullptr ? std::nullopt : std::optional(*after)});
}

// Sorts by key, and keeps the first of each.
void sort_out_duplicates(const std::filesystem::path& path, ManifestContent& content) {
    auto& objects = content.objects;
    std::stable_sort(objects.begin(), objects.end(), by_key);
    std::size_t kept = 0;
    for (std::size_t i = 0; i < objects.size(); ++i) {
        if (kept > 0 && key_view(objects[kept - 1].object) == key_view(objects[i].object)) {
            content.clean = false;
            content.problems.push_back(
                {path.native(),
                 objects[i].line,
                 api::key_of(objects[i].object).text(),
                 {},
                 {},
                 fmt::format("is there twice in this file, first in line {}", objects[kept - 1].line),
                 {}});
            continue;
        }
        if (kept != i) objects[kept] = std::move(objects[i]);
        ++kept;
    }
    objects.erase(objects.begin() + static_cast<std::ptrdiff_t>(kept), objects.end());
    objects.shrink_to_fit();
}

}  // namespace

Result<ManifestSet> ManifestSet::open(std::filesystem::path path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) return fail_errno("manifests {}", path.native());
    if (S_ISDIR(status.st_mode)) return ManifestSet(std::move(path), true);
    if (S_ISREG(status.st_mode)) return ManifestSet(std::move(path), false);
    return fail("manifests {}: is neither a file nor a folder", path.native());
}

std::filesystem::path ManifestSet::folder() const {
    if (is_folder_) return path_;
    return path_.has_parent_path() ? path_.parent_path() : std::filesystem::path(".");
}

bool ManifestSet::covers(std::string_view name) const {
    return is_folder_ ? is_manifest_name(name) : path_.filename().native() == name;
}

Delivery ManifestSet::load() {
    std::set<std::filesystem::path> paths;
    if (is_folder_) {
        auto listed = list_manifests(path_);
        if (!listed) {
            // Without the folder nobody knows which files are gone: everything keeps serving.
            Delivery delivery;
            if (folder_trouble_ != listed.error().message)
                delivery.problems.push_back({path_.native(),
                                             0,
                                             {},
                                             {},
                                             {},
                                             listed.error().message + "; what was read before keeps serving",
                                             {}});
            folder_trouble_ = listed.error().message;
            return delivery;
        }
        folder_trouble_.clear();
        paths.insert(listed->begin(), listed->end());
    } else {
        paths.insert(path_);
    }
    for (const auto& [path, file] : files_) paths.insert(path);
    return load_paths(paths);
}

Delivery ManifestSet::load(const std::set<std::string>& names) {
    std::set<std::filesystem::path> paths;
    for (const auto& name : names)
        if (covers(name)) paths.insert(is_folder_ ? path_ / name : path_);
    return load_paths(paths);
}

// In phases, so that an object which moves from one file to another in one load is no duplicate, and no removal.
Delivery ManifestSet::load_paths(const std::set<std::filesystem::path>& paths) {
    Delivery delivery;
    std::vector<Update> updates;
    for (const auto& path : paths) refresh(path, updates, delivery);

    Released released;
    for (const auto& update : updates) release(update, released);
    hand_over(released, delivery);
    for (const auto& update : updates) claim(*update.file, released, delivery);
    for (const auto& [key, object] : released) add_change(key, &object, nullptr, delivery);

    for (const auto& update : updates)
        if (update.vanished) files_.erase(std::filesystem::path(update.file->path));
    return delivery;
}

void ManifestSet::refresh(const std::filesystem::path& path, std::vector<Update>& updates, Delivery& delivery) {
    struct stat status {};
    const bool found = ::stat(path.c_str(), &status) == 0;
    const bool gone = found ? S_ISDIR(status.st_mode) : (errno == ENOENT || errno == ENOTDIR || errno == ELOOP);
    const auto known = files_.find(path);
    if (gone) {
        if (known == files_.end()) return;
        Update& update = updates.emplace_back(Update{&known->second, {}, true});
        update.before.swap(known->second.objects);
        return;
    }
    if (found && known != files_.end() && known->second.settled && known->second.stamp == stamp_of(status)) return;

    File& file = files_[path];
    file.path = path;
    auto content = read_manifest(path);
    if (!content) {
        file.settled = false;
        if (file.trouble != content.error().message) {
            std::string message = fmt::format("cannot be read: {}", content.error().message);
            if (file.was_read) message += "; its last version keeps serving";
            delivery.problems.push_back({path.native(), 0, {}, {}, {}, std::move(message), {}});
        }
        file.trouble = content.error().message;
        return;
    }
    file.trouble.clear();
    adopt(file, std::move(*content), updates, delivery);
}

// Takes a file's new text, or keeps the old.
void ManifestSet::adopt(File& file, ManifestContent content, std::vector<Update>& updates, Delivery& delivery) {
    const bool same_bytes = file.was_read && file.hash == content.hash;
    file.stamp = content.stamp;
    file.settled = content.settled;
    file.hash = content.hash;
    file.was_read = true;
    if (same_bytes) return;

    sort_out_duplicates(file.path, content);
    std::move(content.problems.begin(), content.problems.end(), std::back_inserter(delivery.problems));
    if (!content.clean) {
        const std::string_view what = file.was_clean ? "its last version without an error keeps serving"
                                                     : "of this file only the objects without an error are served";
        delivery.problems.push_back({file.path.native(), 0, {}, {}, {}, std::string(what), api::Severity::kNotice});
        if (file.was_clean) return;
    }
    file.was_clean = content.clean;
    Update& update = updates.emplace_back(Update{&file, {}, false});
    update.before.swap(file.objects);
    file.objects = std::move(content.objects);
}

// What the file had and has no more.
void ManifestSet::release(const Update& update, Released& released) {
    for (const auto& [object, line] : update.before) {
        const KeyView key = key_view(object);
        if (find(update.file->objects, key) != nullptr) continue;
        const auto claim = served_.find(key);
        if (claim != served_.end() && claim->second.file == update.file) {
            released.emplace(api::key_of(object), claim->second.object);
            served_.erase(claim);
        } else if (const auto waiting = waiting_.find(api::key_of(object)); waiting != waiting_.end()) {
            waiting->second.erase(update.file->path);
            if (waiting->second.empty()) waiting_.erase(waiting);
        }
    }
}

// To the first of those files that waited for it.
void ManifestSet::hand_over(Released& released, Delivery& delivery) {
    for (auto at = released.begin(); at != released.end();) {
        const auto waiting = waiting_.find(at->first);
        if (waiting == waiting_.end()) {
            ++at;
            continue;
        }
        File& heir = files_.at(*waiting->second.begin());
        waiting->second.erase(waiting->second.begin());
        if (waiting->second.empty()) waiting_.erase(waiting);
        const api::Object& object = find(heir.objects, key_view(at->first))->object;
        add_change(at->first, &at->second, &object, delivery);
        served_.emplace(key_view(object), Claim{object, &heir});
        at = released.erase(at);
    }
}

void ManifestSet::claim(File& file, Released& released, Delivery& delivery) {
    for (auto& [object, line] : file.objects) {
        const auto claim = served_.find(key_view(object));
        if (claim == served_.end()) {
            const api::ObjectKey key = api::key_of(object);
            const auto before = released.find(key);
            // The one that consumers already have, rather than a second copy of it.
            if (before != released.end() && api::same_content(before->second, object)) object = before->second;
            add_change(key, before == released.end() ? nullptr : &before->second, &object, delivery);
            if (before != released.end()) released.erase(before);
            served_.emplace(key_view(object), Claim{object, &file});
        } else if (claim->second.file != &file) {
            const File& other = *claim->second.file;
            const api::ObjectKey key = api::key_of(object);
            waiting_[key].insert(file.path);
            delivery.problems.push_back({file.path.native(),
                                         line,
                                         key.text(),
                                         {},
                                         {},
                                         fmt::format("is in {}:{} too, from where it is served; this one waits",
                                                     other.path.native(), find(other.objects, key_view(object))->line),
                                         {}});
        } else if (api::same_content(claim->second.object, object)) {
            object = claim->second.object;
        } else {
            add_change(api::key_of(object), &claim->second.object, &object, delivery);
            auto node = served_.extract(claim);
            node.key() = key_view(object);
            node.mapped().object = object;
            served_.insert(std::move(node));
        }
    }
}

}  // namespace ghostip::source
