// net.ipv4.conf.*.route_localnet makes 127.0.0.0/8 reachable from other hosts (CVE-2020-8558). Nothing in the nftables
// mode needs it, so nothing touches it: neither a program run with every way of opening node ports, nor its clean-up.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "support/namespace.h"

namespace ghostip {
namespace {

constexpr const char* kObjects = R"(apiVersion: v1
kind: Node
metadata: {name: test-node}
status:
  addresses:
  - {type: InternalIP, address: 192.0.2.2}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  clusterIP: 172.30.0.41
  externalIPs: [192.0.2.2]
  ports:
  - {port: 80, nodePort: 30080}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports:
- {port: 80}
endpoints:
- {addresses: [127.0.0.1], nodeName: test-node}
- {addresses: [192.0.2.2], nodeName: test-node}
)";

// A folder that goes with the test.
class Folder {
  public:
    Folder() {
        std::string name = (std::filesystem::temp_directory_path() / "ghostip-localnet-XXXXXX").string();
        if (const char* made = ::mkdtemp(name.data()); made != nullptr) path_ = made;
    }
    ~Folder() {
        std::error_code ignored;
        if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    [[nodiscard]] std::filesystem::path path() const { return path_; }

  private:
    std::filesystem::path path_;
};

std::string settings(const testnet::Namespace& space) {
    const auto text = space.must_run({"sh", "-c", "grep -H . /proc/sys/net/ipv4/conf/*/route_localnet"});
    EXPECT_TRUE(text) << (text ? "" : text.error().message);
    return text.value_or("");
}

TEST(RouteLocalnet, IsLeftAsItIs) {
    const auto space = testnet::Namespace::create();
    ASSERT_TRUE(space) << "needs root: " << space.error().message;
    ASSERT_TRUE(space->must_run({"ip", "-batch", "-"},
                                "link add d0 type veth peer name d1\nlink set d0 up\n"
                                "addr add 192.0.2.2/24 dev d0\n"));
    // Somebody else wants it there; that is not ours to undo either.
    ASSERT_TRUE(space->sysctl("net/ipv4/conf/d1/route_localnet", "1"));
    const std::string before = settings(*space);
    ASSERT_NE(before.find("conf/d0/route_localnet:0"), std::string::npos) << before;
    ASSERT_NE(before.find("conf/d1/route_localnet:1"), std::string::npos) << before;

    const Folder folder;
    ASSERT_FALSE(folder.path().empty());
    const auto manifest = (folder.path() / "objects.yaml").string();
    std::ofstream(manifest) << kObjects;
    for (const auto* addresses : {"primary", "0.0.0.0/0", "127.0.0.0/8", "192.0.2.0/24,127.0.0.1/32"}) {
        const auto ran = space->run({GHOSTIP_BINARY, "proxy", "--manifests", manifest, "--hostname-override",
                                     "test-node", "--nodeport-addresses", addresses, "--once"});
        ASSERT_TRUE(ran) << ran.error().message;
        EXPECT_EQ(ran->status, 0) << addresses << "\n" << ran->out << ran->err;
        EXPECT_EQ(settings(*space), before) << addresses;
    }
    const auto cleaned = space->must_run({GHOSTIP_BINARY, "cleanup"});
    ASSERT_TRUE(cleaned) << cleaned.error().message;
    EXPECT_EQ(settings(*space), before) << "clean-up";
}

}  // namespace
}  // namespace ghostip
