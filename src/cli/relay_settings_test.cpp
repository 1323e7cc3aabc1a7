#include "cli/relay_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ghostip::cli {
namespace {

using ::testing::HasSubstr;

TEST(RelaySettings, NameServicesAndAddresses) {
    RelaySettings settings;
    settings.listen = {"team/web:http=127.0.0.1:8080", "dns=[::1]:53", "a/b:443=10.0.0.1:443"};
    settings.pick = "random";
    settings.drain_timeout = std::chrono::seconds(5);
    const auto options = relay_options(settings);
    ASSERT_TRUE(options) << options.error().message;
    ASSERT_EQ(options->listen.size(), 3U);
    EXPECT_EQ(options->listen[0].text(), "team/web:http=127.0.0.1:8080");
    EXPECT_EQ(options->listen[1].text(), "default/dns=[::1]:53");
    EXPECT_EQ(options->listen[2].port, "443");
    EXPECT_EQ(options->pick, relay::Pick::kRandom);
    EXPECT_EQ(options->drain, std::chrono::seconds(5));
    EXPECT_FALSE(relay_options(RelaySettings())->drain) << "connections go on until they end";
}

TEST(RelaySettings, NeverMarkAsMasqueradingDoes) {
    for (std::uint8_t bit = 0; bit < 32; ++bit)
        EXPECT_EQ(dataplane::relay_mark_beside(bit) & std::uint32_t{1} << bit, 0U) << int{bit};
}

TEST(RelaySettings, ThatMakeNoSenseAreNamed) {
    const auto error = [](const std::string& listen) {
        RelaySettings settings;
        settings.listen = {listen};
        const auto options = relay_options(settings);
        return options ? std::string("none") : options.error().message;
    };
    for (const std::string odd :
         {"web", "web=", "web=127.0.0.1", "web=localhost:80", "web=127.0.0.1:0", "web=127.0.0.1:65536",
          "web=127.0.0.1:8o", "=127.0.0.1:80", "/web=127.0.0.1:80", "a/=127.0.0.1:80", "a/b:=127.0.0.1:80"})
        EXPECT_THAT(error(odd), HasSubstr("--listen: \"" + odd + "\": ")) << odd;
    RelaySettings settings;
    settings.pick = "best";
    EXPECT_THAT(relay_options(settings).error().message, HasSubstr("--relay-pick: \"best\""));
    settings = {};
    settings.udp_timeout = std::chrono::seconds(0);
    EXPECT_THAT(relay_options(settings).error().message, HasSubstr("--relay-udp-timeout"));
}

}  // namespace
}  // namespace ghostip::cli
