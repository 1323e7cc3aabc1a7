// What a real API server (1.36) answered, recorded outside of the repository.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "api/decode_testing.h"

namespace ghostip::api {
namespace {

using ::testing::IsEmpty;

// CTest tells where they are; started by hand, they are looked for from the repository's folder.
std::filesystem::path recordings() {
    const char* told = std::getenv("GHOSTIP_RECORDINGS");
    return told == nullptr ? "../shared/recordings/api" : told;
}

struct Case {
    const char* file;
    std::vector<std::string> keys;
};

class Recordings : public ::testing::TestWithParam<Case> {};

TEST_P(Recordings, Decode) {
    const auto path = recordings() / (std::string(GetParam().file) + ".json.body");
    if (!std::filesystem::exists(path)) GTEST_SKIP() << "the recording " << path << " is not there";
    FileReader reader(Fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)});
    testing::Collected got;
    EXPECT_TRUE(decode(reader, Format::kJson, "f", got));
    EXPECT_THAT(got.lines(), IsEmpty());
    EXPECT_EQ(got.keys(), GetParam().keys);
}

TEST(RecordedSlice, HasItsFields) {
    const auto path = recordings() / "endpointslices.get.json.body";
    if (!std::filesystem::exists(path)) GTEST_SKIP() << "the recording " << path << " is not there";
    FileReader reader(Fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)});
    testing::Collected got;
    EXPECT_TRUE(decode(reader, Format::kJson, "f", got));
    EndpointSlice expected;
    expected.namespace_ = "rec";
    expected.name = expected.service_name = "a";
    expected.ports = {{"http", net::Protocol::kTcp, 8080}};
    expected.endpoints = {{*net::IpAddress::parse("10.244.1.11"), true, true, false, 0, 0},
                          {*net::IpAddress::parse("10.244.1.12"), false, true, true, 1, Endpoint::kNone}};
    expected.node_names = {"kp-node", "rec-node"};
    expected.hints = {{{"zone-a"}, {}}};
    EXPECT_EQ(got.only<EndpointSlice>(), expected);
}

INSTANTIATE_TEST_SUITE_P(Api, Recordings,
                         ::testing::Values(Case{"services.list", {"Service rec/a", "Service rec/b"}},
                                           Case{"services.get", {"Service rec/a"}},
                                           Case{"endpointslices.list",
                                                {"EndpointSlice rec/a", "EndpointSlice rec/a-ppvwp",
                                                 "EndpointSlice rec/b", "EndpointSlice rec/b-s5kvh"}},
                                           Case{"endpointslices.get", {"EndpointSlice rec/a"}},
                                           Case{"nodes.list", {"Node rec-a", "Node rec-b"}},
                                           Case{"nodes.get", {"Node rec-a"}},
                                           Case{"servicecidrs.list", {"ServiceCIDR rec-a", "ServiceCIDR rec-b"}},
                                           Case{"servicecidrs.get", {"ServiceCIDR rec-a"}}),
                         [](const auto& test) {
                             std::string name = test.param.file;
                             std::replace_if(
                                 name.begin(), name.end(), [](char character) { return character == '.'; }, '_');
                             return name;
                         });

}  // namespace
}  // namespace ghostip::api
