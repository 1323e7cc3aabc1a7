#include "source/kubernetes/resource.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>

namespace ghostip::source::kubernetes {
namespace {

using namespace std::chrono_literals;
using ::testing::UnorderedElementsAreArray;

// What is random in a request.
std::string without_timeouts(const std::string& target) {
    return std::regex_replace(target, std::regex("timeout=[0-9ms]+&timeoutSeconds=[0-9]+"),
                              "timeout=T&timeoutSeconds=T");
}

TEST(Resource, AsksAsKubeProxyWasRecordedToAsk) {
    const char* told = std::getenv("GHOSTIP_RECORDINGS");
    const auto path = std::filesystem::path(told == nullptr ? "../shared/recordings/api" : told).parent_path() /
                      "kube-proxy-requests.txt";
    if (!std::filesystem::exists(path)) GTEST_SKIP() << "the recording " << path << " is not there";
    std::set<std::string> recorded;
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        std::smatch match;
        if (std::regex_search(line, match, std::regex("Z watch +(/[^ ]+)")))
            recorded.insert(without_timeouts(match[1]));
    }
    std::set<std::string> ours;
    for (const auto& resource : {own_node("kp-node"), services(), endpoint_slices(), service_cidrs()})
        ours.insert(without_timeouts(watch_target(resource, "", 564s, InitialEvents::kSend)));
    EXPECT_EQ(recorded.size(), 4U);
    EXPECT_THAT(ours, UnorderedElementsAreArray(recorded));
}

TEST(Resource, VersionsAreComparedAsNumbers) {
    EXPECT_TRUE(is_older("9", "10"));
    EXPECT_TRUE(is_older("18446744073709551616", "18446744073709551617"));
    EXPECT_FALSE(is_older("10", "9"));
    EXPECT_FALSE(is_older("010", "10"));
    EXPECT_TRUE(is_older("0", "1"));
    EXPECT_FALSE(is_older("", "1"));
    EXPECT_FALSE(is_older("a", "b"));
}

struct Case {
    const char* name;
    std::string target;
    std::string expected;
};

class Target : public ::testing::TestWithParam<Case> {};

TEST_P(Target, IsAsExpected) { EXPECT_EQ(GetParam().target, GetParam().expected); }

INSTANTIATE_TEST_SUITE_P(
    Resource, Target,
    ::testing::Values(
        Case{"StreamingListOfOurNode", watch_target(own_node("kp-node"), "", 564s, InitialEvents::kSend),
             "/api/v1/nodes?allowWatchBookmarks=true&fieldSelector=metadata.name%3Dkp-node&resourceVersionMatch="
             "NotOlderThan&sendInitialEvents=true&timeout=9m24s&timeoutSeconds=564&watch=true"},
        Case{
            "WatchFromAVersion", watch_target(services(), "812", 300s, InitialEvents::kNo),
            "/api/v1/services?allowWatchBookmarks=true&fieldSelector=spec.clusterIP%21%3DNone&labelSelector=%21service."
            "kubernetes.io%2Fservice-proxy-name&resourceVersion=812&timeout=5m0s&timeoutSeconds=300&watch=true"},
        Case{"FirstPage", list_target(endpoint_slices(), {"0", 500, ""}),
             "/apis/discovery.k8s.io/v1/endpointslices?labelSelector=%21service.kubernetes.io%2Fheadless&limit=500&"
             "resourceVersion=0"},
        Case{"NextPageHasNoVersion", list_target(service_cidrs(), {"0", 500, "a=/+"}),
             "/apis/networking.k8s.io/v1/servicecidrs?continue=a%3D%2F%2B&limit=500"},
        Case{"AllAtOnce", list_target(service_cidrs(), {"77", 0, ""}),
             "/apis/networking.k8s.io/v1/servicecidrs?resourceVersion=77"},
        Case{"Newest", list_target(service_cidrs(), {"", 0, ""}), "/apis/networking.k8s.io/v1/servicecidrs"}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace ghostip::source::kubernetes
