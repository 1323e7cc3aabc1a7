// The objects of a manifest file or folder, and what changes in them. No threads, no inotify: load() looks when told.
//
// Each file is atomic: while its newest text has an error, its last version without one keeps serving. An object that
// stands in two files is served from one of them, the other waits. Objects that the API server would filter out of a
// proxy's watch (Services for another proxy, slices of headless Services) are known but not served.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "api/objects.h"
#include "api/problem.h"
#include "base/result.h"
#include "source/manifests/key_view.h"
#include "source/manifests/manifest_file.h"

namespace ghostip::source {

struct Delivery {
    std::vector<api::Change> changes;  // of content; at most one for a key
    std::vector<api::Problem> problems;
};

// Single-threaded.
class ManifestSet {
  public:
    // An error if there is neither a file nor a folder. Reads nothing yet.
    [[nodiscard]] static Result<ManifestSet> open(std::filesystem::path path);

    // Reads what is new or changed since the last time. Problems of a file are given once for each change of its bytes.
    [[nodiscard]] Delivery load();
    // The same for the files of these names alone: others may be half written at the moment.
    [[nodiscard]] Delivery load(const std::set<std::string>& names);

    // The folder whose entries are the files, to be watched.
    [[nodiscard]] std::filesystem::path folder() const;
    // Whether a file of this name in that folder belongs to the set.
    [[nodiscard]] bool covers(std::string_view name) const;

  private:
    struct File {
        std::filesystem::path path;
        FileStamp stamp;
        bool settled = false;  // the stamp can be relied on
        std::uint64_t hash = 0;
        bool was_read = false;
        bool was_clean = false;             // some version had no error
        std::string trouble;                // why it could not be read, as reported
        std::vector<api::Decoded> objects;  // being served or waiting; sorted by key, each key once
    };
    // One file's step from what it had to what it has.
    struct Update {
        File* file = nullptr;
        std::vector<api::Decoded> before;
        bool vanished = false;
    };
    // An object and the file from which it is served.
    struct Claim {
        api::Object object;
        File* file = nullptr;
    };
    using Released = std::map<api::ObjectKey, api::Object>;

    explicit ManifestSet(std::filesystem::path path, bool is_folder) : path_(std::move(path)), is_folder_(is_folder) {}

    [[nodiscard]] Delivery load_paths(const std::set<std::filesystem::path>& paths);
    void refresh(const std::filesystem::path& path, std::vector<Update>& updates, Delivery& delivery);
    void adopt(File& file, ManifestContent content, std::vector<Update>& updates, Delivery& delivery);
    void release(const Update& update, Released& released);
    void hand_over(Released& released, Delivery& delivery);
    void claim(File& file, Released& released, Delivery& delivery);

    std::filesystem::path path_;
    bool is_folder_;
    std::string folder_trouble_;  // why the folder could not be read, as reported
    std::map<std::filesystem::path, File> files_;
    std::unordered_map<KeyView, Claim, KeyViewHash> served_;  // keys view into the claim's object
    std::map<api::ObjectKey, std::set<std::filesystem::path>>
        waiting_;  // files with an object that another file serves
};

}  // namespace ghostip::source
