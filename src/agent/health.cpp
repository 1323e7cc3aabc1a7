#include "agent/health.h"

namespace ghostip::agent {

http::Response Health::healthz() const {
    const bool healthy = synced_.load(std::memory_order_acquire);
    return {healthy ? 200U : 503U,
            healthy ? R"({"healthy":true})" : R"({"healthy":false,"reason":"the first sync is not done"})",
            {{"Content-Type", "application/json"}, {"X-Content-Type-Options", "nosniff"}}};
}

}  // namespace ghostip::agent
