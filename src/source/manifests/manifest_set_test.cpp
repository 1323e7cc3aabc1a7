#include "source/manifests/manifest_set.h"

#include <sys/stat.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "source/manifests/manifest_testing.h"

namespace ghostip::source {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::service;
using testing::slice;
using ::testing::UnorderedElementsAre;

constexpr std::string_view kProxyLabel = "service.kubernetes.io/service-proxy-name: x";
constexpr std::string_view kHeadlessLabel = "service.kubernetes.io/headless: \"\"";

// `+Service default/a:80`, `-Service default/a`.
std::vector<std::string> text_of(const Delivery& delivery) {
    std::vector<std::string> lines;
    for (const auto& change : delivery.changes) {
        std::string line = (change.object ? "+" : "-") + change.key.text();
        if (const auto* service =
                change.object ? std::get_if<std::shared_ptr<const api::Service>>(&*change.object) : nullptr)
            line += fmt::format(":{}", (*service)->ports.at(0).port);
        lines.push_back(line);
    }
    return lines;
}

class ManifestSets : public ::testing::Test {
  protected:
    // The problems without the folder in front.
    std::vector<std::string> problems_of(const Delivery& delivery) const {
        std::vector<std::string> lines;
        for (const auto& problem : delivery.problems) {
            std::string text = problem.text();
            const std::string folder = folder_.path().native() + "/";
            for (auto at = text.find(folder); at != std::string::npos; at = text.find(folder))
                text.erase(at, folder.size());
            lines.push_back(text);
        }
        return lines;
    }
    ManifestSet open() const {
        auto set = ManifestSet::open(folder_.path());
        EXPECT_TRUE(set);
        return std::move(*set);
    }
    static void expect_quiet(const Delivery& delivery) {
        EXPECT_THAT(text_of(delivery), IsEmpty());
        EXPECT_THAT(delivery.problems, IsEmpty());
    }

    testing::TemporaryFolder folder_;
};

TEST_F(ManifestSets, PathMustExist) {
    const auto missing = ManifestSet::open(folder_.path() / "no");
    ASSERT_FALSE(missing);
    EXPECT_THAT(missing.error().message, ::testing::EndsWith("/no: No such file or directory"));
    EXPECT_EQ(ManifestSet::open("/dev/null").error().message, "manifests /dev/null: is neither a file nor a folder");
}

TEST_F(ManifestSets, FolderMayBeEmpty) {
    auto set = open();
    expect_quiet(set.load());
}

TEST_F(ManifestSets, OnlyManifestsAreRead) {
    folder_.write("a.yaml", service("a"));
    folder_.write("b.yml", service("b"));
    folder_.write("c.json", R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"c"}})");
    for (const char* other : {".d.yaml", ".#a.yaml", "#a.yaml#", "a.yaml~", "a.yaml.swp", ".a.yaml.swp", "a.yaml.tmp",
                              "4913", "readme.txt", "yaml"})
        folder_.write(other, service("other"));
    std::filesystem::create_directory(folder_.path() / "folder.yaml");
    folder_.write("folder.yaml/x.yaml", service("x"));
    std::filesystem::create_symlink("nowhere", folder_.path() / "dangling.yaml");
    auto set = open();
    const auto got = set.load();
    EXPECT_THAT(text_of(got), ElementsAre("+Service default/a:80", "+Service default/b:80", "+Namespace c"));
    EXPECT_THAT(got.problems, IsEmpty());
    expect_quiet(set.load());
}

TEST_F(ManifestSets, OnlyRealDifferencesAreChanges) {
    folder_.write("a.yaml", service("a") + service("b"));
    auto set = open();
    const auto first = set.load();
    folder_.write("a.yaml", "# a remark\n" + service("b") + service("a", "81") + service("c"));
    EXPECT_THAT(text_of(set.load()), ElementsAre("+Service default/a:81", "+Service default/c:80"));
    folder_.write("a.yaml", service("c"));
    EXPECT_THAT(text_of(set.load()), UnorderedElementsAre("-Service default/a", "-Service default/b"));
    expect_quiet(set.load());
}

// A second write of the same size within one tick of the kernel's clock for files.
TEST_F(ManifestSets, QuickRewritesAreSeen) {
    auto set = open();
    for (int port = 1000; port < 1050; ++port) {
        folder_.write("a.yaml", service("a", std::to_string(port)));
        ASSERT_THAT(text_of(set.load()), ElementsAre(fmt::format("+Service default/a:{}", port)));
    }
}

TEST_F(ManifestSets, BadTextKeepsTheLastGoodVersion) {
    folder_.write("a.yaml", service("a"));
    folder_.write("b.yaml", service("b"));
    auto set = open();
    static_cast<void>(set.load());
    struct Case {
        const char* name;
        std::string text;
        std::string problem;
    };
    for (const auto& test : std::vector<Case>{
             {"syntax", service("a", "81") + "---\n{",
              "a.yaml:8: is not valid YAML: did not find expected node content (while parsing a flow node)"},
             {"field", service("a", "81") + service("x", "http"),
              "a.yaml:10: Service default/x: spec.ports[0].port: \"http\": must be a number from 1 to 65535"},
             {"twice", service("a", "81") + service("a", "82"),
              "a.yaml:7: Service default/a: is there twice in this file, first in line 2"},
             {"kind", service("a", "81") + "---\napiVersion: v1\nkind: Secret\n",
              "a.yaml:8: Secret: kind: \"Secret\": is not a kind that ghostip reads; it reads Service, EndpointSlice, "
              "Node, ServiceCIDR, Pod, Namespace"}}) {
        folder_.write("a.yaml", test.text);
        const auto bad = set.load();
        EXPECT_THAT(text_of(bad), IsEmpty()) << test.name;
        EXPECT_THAT(problems_of(bad),
                    ElementsAre(test.problem, "a.yaml: its last version without an error keeps serving"))
            << test.name;
        expect_quiet(set.load());
        // The other files go on.
        folder_.write("b.yaml", service("b", "90"));
        EXPECT_THAT(text_of(set.load()), ElementsAre("+Service default/b:90"));
        folder_.write("b.yaml", service("b"));
        static_cast<void>(set.load());
    }
    folder_.write("a.yaml", service("a", "83"));
    EXPECT_THAT(text_of(set.load()), ElementsAre("+Service default/a:83"));
}

TEST_F(ManifestSets, GoodObjectsOfAFileThatNeverWasGoodAreServed) {
    folder_.write("a.yaml", service("a") + service("x", "http"));
    auto set = open();
    const auto first = set.load();
    EXPECT_THAT(text_of(first), ElementsAre("+Service default/a:80"));
    EXPECT_THAT(
        problems_of(first),
        ElementsAre("a.yaml:10: Service default/x: spec.ports[0].port: \"http\": must be a number from 1 to 65535",
                    "a.yaml: of this file only the objects without an error are served"));
    // Still bad, still the newest.
    folder_.write("a.yaml", service("a", "81") + service("b") + "---\n{");
    EXPECT_THAT(text_of(set.load()), ElementsAre("+Service default/a:81", "+Service default/b:80"));
    folder_.write("a.yaml", service("a", "82"));
    EXPECT_THAT(text_of(set.load()), UnorderedElementsAre("+Service default/a:82", "-Service default/b"));
    folder_.write("a.yaml", service("a", "0"));
    EXPECT_THAT(text_of(set.load()), IsEmpty());
}

TEST_F(ManifestSets, NoticesDoNotMakeAFileBad) {
    folder_.write(
        "a.yaml",
        "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}], externalIPs: [x]}}");
    auto set = open();
    const auto got = set.load();
    EXPECT_THAT(text_of(got), ElementsAre("+Service default/a:80"));
    EXPECT_THAT(problems_of(got),
                ElementsAre("a.yaml:1: Service default/a: spec.externalIPs[0]: \"x\": is not an IP address; left out"));
}

TEST_F(ManifestSets, VanishedFilesTakeTheirObjectsAlong) {
    folder_.write("a.yaml", service("a"));
    folder_.write("b.yaml", service("b"));
    auto set = open();
    static_cast<void>(set.load());
    folder_.remove("a.yaml");
    EXPECT_THAT(text_of(set.load()), ElementsAre("-Service default/a"));
    folder_.replace("a.yaml", service("a"));
    EXPECT_THAT(text_of(set.load()), ElementsAre("+Service default/a:80"));
}

// The last good version belongs to the file, not to its name.
TEST_F(ManifestSets, VanishedBadFilesTakeTheirObjectsAlong) {
    folder_.write("a.yaml", service("a"));
    auto set = open();
    static_cast<void>(set.load());
    folder_.write("a.yaml", "{");
    static_cast<void>(set.load());
    folder_.remove("a.yaml");
    EXPECT_THAT(text_of(set.load()), ElementsAre("-Service default/a"));
    folder_.write("a.yaml", "{");
    EXPECT_THAT(problems_of(set.load()),
                ElementsAre(::testing::HasSubstr("is not valid YAML"),
                            "a.yaml: of this file only the objects without an error are served"));
}

TEST_F(ManifestSets, AnObjectInTwoFilesIsServedFromTheFirst) {
    folder_.write("a.yaml", service("x", "1"));
    folder_.write("b.yaml", "\n" + service("x", "2") + service("b"));
    auto set = open();
    const auto first = set.load();
    EXPECT_THAT(text_of(first), ElementsAre("+Service default/x:1", "+Service default/b:80"));
    EXPECT_THAT(
        problems_of(first),
        ElementsAre("b.yaml:3: Service default/x: is in a.yaml:2 too, from where it is served; this one waits"));
    expect_quiet(set.load());
    // The one that waits may change, and is no change.
    folder_.write("b.yaml", service("x", "3") + service("b"));
    const auto second = set.load();
    EXPECT_THAT(text_of(second), IsEmpty());
    EXPECT_EQ(second.problems.size(), 1U);
    // A third, of a path before both, waits too: what is served stays.
    folder_.write("0.yaml", service("x", "4"));
    EXPECT_THAT(text_of(set.load()), IsEmpty());
    folder_.write("a.yaml", service("other"));
    EXPECT_THAT(text_of(set.load()), UnorderedElementsAre("+Service default/x:4", "+Service default/other:80"));
    folder_.remove("0.yaml");
    EXPECT_THAT(text_of(set.load()), ElementsAre("+Service default/x:3"));
    folder_.remove("b.yaml");
    EXPECT_THAT(text_of(set.load()), UnorderedElementsAre("-Service default/x", "-Service default/b"));
}

TEST_F(ManifestSets, AWaitingObjectOfTheSameContentTakesOverSilently) {
    folder_.write("a.yaml", service("x"));
    folder_.write("b.yaml", service("x"));
    auto set = open();
    static_cast<void>(set.load());
    folder_.remove("a.yaml");
    expect_quiet(set.load());
    folder_.remove("b.yaml");
    EXPECT_THAT(text_of(set.load()), ElementsAre("-Service default/x"));
}

TEST_F(ManifestSets, AnObjectMayMoveBetweenFiles) {
    folder_.write("a.yaml", service("x") + service("a"));
    folder_.write("b.yaml", service("b"));
    auto set = open();
    const auto first = set.load();
    for (const auto& [from, to] : {std::pair{"a", "b"}, std::pair{"b", "a"}}) {
        folder_.write(std::string(from) + ".yaml", service(from));
        folder_.write(std::string(to) + ".yaml", service(to) + service("x"));
        expect_quiet(set.load());
    }
    // Renaming a file changes nothing.
    std::filesystem::rename(folder_.path() / "a.yaml", folder_.path() / "c.yaml");
    expect_quiet(set.load());
}

TEST_F(ManifestSets, ObjectsForOtherProxiesAreNotServed) {
    folder_.write("a.yaml", service("a", "80", kProxyLabel) + service("b") + slice("s", kHeadlessLabel) + slice("t"));
    auto set = open();
    EXPECT_THAT(text_of(set.load()), UnorderedElementsAre("+Service default/b:80", "+EndpointSlice default/t"));
    folder_.write("a.yaml", service("a") + service("b", "80", kProxyLabel) + slice("s") + slice("t", kHeadlessLabel));
    EXPECT_THAT(text_of(set.load()), UnorderedElementsAre("+Service default/a:80", "-Service default/b",
                                                          "+EndpointSlice default/s", "-EndpointSlice default/t"));
    folder_.write("a.yaml", service("a") + service("b", "81", kProxyLabel) + slice("s"));
    expect_quiet(set.load());
}

TEST_F(ManifestSets, ObjectsAreSharedNotCopied) {
    folder_.write("a.yaml", service("a"));
    auto set = open();
    const auto first = set.load();
    const auto held = std::get<std::shared_ptr<const api::Service>>(*first.changes.at(0).object);
    const auto uses = held.use_count();
    folder_.write("a.yaml", service("a") + service("b"));
    static_cast<void>(set.load());
    // The file was read anew; the set still holds the object that it gave away.
    EXPECT_EQ(held.use_count(), uses);
}

TEST_F(ManifestSets, ASingleFileIsASet) {
    folder_.write("only.conf", service("a"));
    folder_.write("other.yaml", service("b"));
    auto set = ManifestSet::open(folder_.path() / "only.conf");
    ASSERT_TRUE(set);
    EXPECT_EQ(set->folder(), folder_.path());
    EXPECT_TRUE(set->covers("only.conf"));
    EXPECT_FALSE(set->covers("other.yaml"));
    EXPECT_THAT(text_of(set->load()), ElementsAre("+Service default/a:80"));
    folder_.remove("only.conf");
    EXPECT_THAT(text_of(set->load()), ElementsAre("-Service default/a"));
    folder_.write("only.conf", service("a"));
    EXPECT_THAT(text_of(set->load()), ElementsAre("+Service default/a:80"));
}

TEST_F(ManifestSets, LoadOfSomeLeavesTheOthersAlone) {
    folder_.write("a.yaml", service("a"));
    folder_.write("b.yaml", service("b"));
    auto set = open();
    static_cast<void>(set.load());
    folder_.write("a.yaml", "half");
    folder_.write("b.yaml", service("b", "81"));
    const auto got = set.load({"b.yaml", "not-there.yaml", ".hidden.yaml"});
    EXPECT_THAT(text_of(got), ElementsAre("+Service default/b:81"));
    EXPECT_THAT(got.problems, IsEmpty());
}

TEST_F(ManifestSets, MountedConfigMapsAreFollowed) {
    const auto mount = [&](const char* version, const char* port) {
        std::filesystem::create_directory(folder_.path() / version);
        folder_.write(std::filesystem::path(version) / "a.yaml", service("a", port));
        std::filesystem::create_directory_symlink(version, folder_.path() / "..data_tmp");
        std::filesystem::rename(folder_.path() / "..data_tmp", folder_.path() / "..data");
    };
    mount("..1", "80");
    std::filesystem::create_symlink("..data/a.yaml", folder_.path() / "a.yaml");
    auto set = open();
    EXPECT_THAT(text_of(set.load()), ElementsAre("+Service default/a:80"));
    mount("..2", "81");
    EXPECT_THAT(text_of(set.load()), ElementsAre("+Service default/a:81"));
}

TEST_F(ManifestSets, AFolderThatVanishesKeepsServing) {
    folder_.write("a.yaml", service("a"));
    auto set = open();
    static_cast<void>(set.load());
    const auto aside = folder_.path().native() + "-aside";
    std::filesystem::rename(folder_.path(), aside);
    const auto gone = set.load();
    EXPECT_THAT(text_of(gone), IsEmpty());
    ASSERT_EQ(gone.problems.size(), 1U);
    EXPECT_THAT(gone.problems[0].text(),
                ::testing::EndsWith(": No such file or directory; what was read before keeps serving"));
    expect_quiet(set.load());
    std::filesystem::rename(aside, folder_.path());
    expect_quiet(set.load());
}

TEST_F(ManifestSets, UnreadableFilesKeepTheirLastVersion) {
    folder_.write("a.yaml", service("a"));
    auto set = open();
    static_cast<void>(set.load());
    // Whoever runs the test, a pipe is no file to be read; the writer that it has not got must not be waited for.
    folder_.remove("a.yaml");
    ASSERT_EQ(::mkfifo((folder_.path() / "a.yaml").c_str(), 0600), 0);
    const auto bad = set.load();
    EXPECT_THAT(text_of(bad), IsEmpty());
    EXPECT_THAT(problems_of(bad),
                ElementsAre("a.yaml: cannot be read: is not a regular file; its last version keeps serving"));
    expect_quiet(set.load());
    folder_.replace("a.yaml", service("a", "81"));
    EXPECT_THAT(text_of(set.load()), ElementsAre("+Service default/a:81"));
}

}  // namespace
}  // namespace ghostip::source
