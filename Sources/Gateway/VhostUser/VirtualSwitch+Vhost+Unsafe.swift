internal import Logging
internal import Netstack
internal import Uv
internal import Wire

// The switch's ports in shared memory: frames go into the guest's buffers at once, whole if it takes them so, and the guest is told when the
// turn ends.

extension VirtualSwitch {
    /// Puts a frame into a guest's buffers. False when it has none: it tells when it has.
    func put(
        _ offload: OffloadHeader, _ header: RawSpan, _ payload: RawSpan, _ cutter: borrowing SegmentCutter,
        _ port: Int, _ link: MachineLink, _ device: VhostDevice
    ) -> Bool {
        guard !link.isBusy else { return false }
        if device.takes(offload) {
            switch device.write(offload, header: header, payload: payload) {
            case .sent: link.counters.sent += 1
            case .lost: link.counters.lost += 1
            case .busy: return false
            }
        } else {
            for index in 0..<cutter.count {
                let length = cutter.length(of: index)
                var scratch = unsafe MutableRawSpan(
                    _unsafeStart: batch + Self.batchSize, byteCount: Self.scratchSize)
                guard length <= Self.scratchSize else { break }
                cutter.write(index, to: &scratch, at: 0)
                let frame = scratch.bytes.extracting(0..<length)
                switch device.write(OffloadHeader(), header: frame, payload: RawSpan()) {
                case .sent: link.counters.sent += 1
                case .lost: link.counters.lost += 1
                case .busy:
                    // Of the first nothing has left; what has left cannot be taken back.
                    if index == 0 { return false }
                    link.counters.lost += 1
                }
            }
        }
        if telling.last != port { telling.append(port) }
        return true
    }

    /// The turn ends, or much was sent: guests learn of their frames.
    func tellDevices() {
        guard !telling.isEmpty else { return }
        for port in telling { links[port]?.device?.tell(0) }
        telling.removeAll(keepingCapacity: true)
    }

    /// A guest has given buffers. True when its port was waiting for them.
    func buffersCame(_ port: Int) -> Bool {
        guard port < links.count, let device = links[port]?.device else { return false }
        return device.buffersCame()
    }

    /// A monitor has something to say. False when its link is gone.
    func hear(_ port: Int) -> Bool {
        guard port < links.count, let device = links[port]?.device else { return true }
        guard device.receiveMessages() else {
            end(port)
            return false
        }
        return true
    }

    /// Says once that a guest's driver has broken a ring, which is left alone from then on.
    func tellOfBrokenRing(_ link: MachineLink) {
        guard let device = link.device, !device.saidBroken, device.isBroken else { return }
        device.saidBroken = true
        logger.warning(
            "the machine on \(addresses[link.origin].text) has a ring that makes no sense: its frames do not pass")
    }
}
