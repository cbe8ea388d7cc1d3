internal import Logging
internal import Netstack
internal import Wire

// What becomes of a frame that claims what is another's: it is counted, and said once for each link and reason.

extension VirtualSwitch {
    func refuse(_ refusal: AddressBindings.Refusal, _ frame: borrowing EthernetView, _ link: MachineLink) {
        link.counters.refused[refusal.rawValue] += 1
        guard link.counters.refused[refusal.rawValue] == 1 else { return }
        let place = addresses[link.origin].text
        logger.warning("the machine \(frame.source) on \(place) \(refusal.sentence); frames like this are dropped")
    }
}

extension AddressBindings.Refusal {
    var sentence: String {
        switch self {
        case .addressOfAnother: "uses an address that is leased to another machine, or that another used first"
        case .addressOfGateway: "uses an address of the gateway or of the host"
        case .foreignMAC: "says that an address is at another MAC address than its own"
        case .routerMessage: "says that it is a router"
        case .serverMessage: "answers as a DHCP server"
        case .malformed: "sends ARP, neighbour discovery or extension headers that cannot be read"
        }
    }
}
