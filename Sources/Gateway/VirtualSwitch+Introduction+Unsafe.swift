internal import Logging
internal import Netstack
internal import Wire

// Machines that introduce themselves (`vmnet`), and one machine on several links.
//
// Until a machine has introduced itself nothing is sent to it, and nothing waits for it: what came of its introduction lies in its
// link like the start of a frame. It has `introductionTime`, which nobody needs who means it; RootlessKit itself waits for ever.
//
// RootlessKit connects twice with one UUID: first from its parent process, which asks DHCP for an address and never reads again, then
// from the namespace. So the newest link of a machine is the machine: its address moves to that port, and the older link is left
// open but quiet until the newer one ends. So does a machine come back whose old connection nobody has noticed to be dead.
//
// With its last link a machine gives back the address that it preferred, unless DHCP has leased it to it since; a machine without a UUID gives
// back all that it has. So who connects again and again, each time as another machine, holds one address for each link that is open.

extension VirtualSwitch {
    private static let introductionTime = Int64.seconds(30)

    /// Takes from the read in hand what belongs to a machine's introduction. True when frames may follow.
    func introduce(_ link: MachineLink, _ port: Int) -> Bool {
        while let handshake = link.handshake {
            let bytes = unsafe RawSpan(_unsafeStart: space + readAt, byteCount: readEnd - readAt)
            switch handshake.step(bytes) {
            case .more:
                link.keep(bytes)
                return false
            case .introduced:
                readAt += VmnetHandshake.initLength
                link.handshake = .command
                guard answer(VmnetHandshake.introduction(), link, port) else { return false }
            case .asked(let request):
                readAt += VmnetHandshake.commandLength
                var random = SystemRandomNumberGenerator()
                let mac = request.mac ?? MACAddress(locallyAdministered: random.next())
                if let wish = request.preferred, !(reserve?(wish, mac) ?? false) {
                    let sentence = "the address \(wish) is not to be had: it is in use, or not of this network"
                    _ = answer(VmnetHandshake.refusal(sentence), link, port)
                    refuse(link, port, sentence)
                    return false
                }
                link.handshake = nil
                link.mac = mac
                link.isNameless = request.mac == nil
                introducing.removeAll { $0 == port }
                guard answer(VmnetHandshake.response(mtu: mtu, mac: mac), link, port) else { return false }
                takeOver(mac, by: port)
            case .refused(let why, let answers):
                if answers { _ = link.send(VmnetHandshake.introduction().rawSpan) }
                refuse(link, port, why)
                return false
            }
        }
        return true
    }

    private func answer(_ bytes: [UInt8], _ link: MachineLink, _ port: Int) -> Bool {
        guard link.send(bytes.rawSpan) else {
            link.counters.unintroduced += 1
            end(port)
            return false
        }
        return true
    }

    private func refuse(_ link: MachineLink, _ port: Int, _ why: String) {
        link.counters.unintroduced += 1
        logger.warning("a machine on \(addresses[link.origin].text) was sent away: \(why)")
        end(port)
    }

    /// Sends those away that have not introduced themselves in time.
    /// - Returns: when the next one's time is up.
    func endIntroductions(at now: Instant) -> Instant {
        var next = Instant.never
        for port in introducing {
            guard let link = links[port], link.handshake != nil else { continue }
            if link.introducesUntil == .never { link.introducesUntil = now + Self.introductionTime }
            if link.introducesUntil <= now {
                refuse(link, port, "it has not introduced itself in \(Self.introductionTime / .seconds(1)) seconds")
            } else {
                next = min(next, link.introducesUntil)
            }
        }
        introducing.removeAll { links[$0]?.handshake == nil }
        return next
    }

    /// The newest link of a machine is the machine.
    private func takeOver(_ mac: MACAddress, by port: Int) {
        for (other, link) in links.enumerated() where other != port {
            guard let link, link.mac == mac, !link.isQuiet else { continue }
            link.isQuiet = true
            link.lastSource = .zero
            stations.forget(port: other)
            bindings.forget(port: other)
        }
        if stations.learn(mac, port: port) { links[port]?.lastSource = mac }
        links[port]?.isQuiet = false
    }

    /// Machines whose last link has ended since the last call.
    func takeDeparted() -> [(mac: MACAddress, isNameless: Bool)] {
        guard !departed.isEmpty else { return [] }
        defer { departed = [] }
        return departed.filter { gone in !links.contains { $0?.mac == gone.mac } }
    }

    /// A machine's link has ended: an older one of the same machine speaks again.
    func giveBack(_ mac: MACAddress) {
        guard !links.contains(where: { $0?.mac == mac && $0?.isQuiet == false }) else { return }
        if let port = links.lastIndex(where: { $0?.mac == mac }) { takeOver(mac, by: port) }
    }
}
