#include "kernel/conntrack/conntrack.h"

namespace ghostip::kernel::conntrack {

bool matches(const Filter& filter, const Entry& entry) {
    const End& dialled = entry.original.destination;
    return dialled.address.family() == filter.family &&
           (!filter.destination || *filter.destination == dialled.address) &&
           (!filter.destination_port || *filter.destination_port == dialled.port);
}

}  // namespace ghostip::kernel::conntrack
