internal import Netstack
internal import Wire

// A core under arbitrary frames. The input is a list of
//
//     control (1)   length (2)   frame
//
// and `control` says what is mended so that chance gets beyond the first checks, and how much time passes:
//
//     bit 0      the destination is the gateway, IPv4's header checksum is right
//     bit 1, 2   what the virtio header says of the checksum
//     bit 3, 4   what it says of segmentation
//     bit 5      the frame comes again, once more
//     bit 6, 7   0, 1 ms, 1 s or 5 minutes pass

package enum FuzzFrames {
    /// Runs an input. What was violated; empty is good.
    package static func run(_ bytes: [UInt8]) -> [String] {
        var input = FuzzInput(bytes)
        var simulation = Simulation(
            Simulation.configuration {
                $0.datagramFlows = 32; $0.echoFlows = 8
            })
        simulation.host.script.stream = [UInt8](repeating: 7, count: 3000)
        simulation.host.script.endsAfterGuest = true
        while !input.isEmpty {
            let control = input.byte()
            var frame = input.take(Int(input.word() & 0x7ff))
            if control & 1 != 0 { mend(&frame) }
            var offload = OffloadHeader()
            offload.checksumValid = control & 2 != 0
            offload.needsChecksum = control & 4 != 0
            offload.segmentation = [.none, .tcp4, .tcp6, .udp][Int(control >> 3 & 3)]
            offload.segmentSize = offload.segmentation == .none ? 0 : UInt16(frame.count % 1500)
            for _ in 0...Int(control >> 5 & 1) {
                simulation.core.receive(frame.raw, offload: offload, at: simulation.now, outside: &simulation.host)
            }
            simulation.settle()
            let pause = [0, Int64.milliseconds(1), .seconds(1), .seconds(300)][Int(control >> 6)]
            if pause > 0 { simulation.run(for: pause) }
        }
        return simulation.finish()
    }

    private static func mend(_ frame: inout [UInt8]) {
        guard frame.count >= 34 else { return }
        for i in 0..<6 {
            frame[i] = UInt8(truncatingIfNeeded: Simulation.gatewayMAC.rawValue >> (40 - 8 * UInt64(i)))
        }
        let header = 14 + Int(frame[14] & 0xf) * 4
        guard frame[14] >> 4 == 4, header >= 34, header <= frame.count else { return }
        (frame[24], frame[25]) = (0, 0)
        let sum = Checksum.finish(Checksum.sum(frame.raw.extracting(14..<header)))
        (frame[24], frame[25]) = (UInt8(sum >> 8), UInt8(sum & 0xff))
    }
}

extension Simulation {
    /// The end of a run of the fuzzer: after three hours in which nobody says anything, nothing may be left, and no frame may have
    /// been wrong.
    mutating func finish() -> [String] {
        for i in host.sockets.indices {
            // The host's own kernel ends a connect that nobody answers.
            if !host.sockets[i].connected, host.sockets[i].connectAt == .never, !host.sockets[i].closed {
                host.sockets[i].script.connectError = .timedOut
                host.sockets[i].connectAt = now + .seconds(130)
            }
        }
        var found = Array(violations.prefix(3))
        if core.chunksInUse > core.configuration.limits.chunks { found.append("more chunks than there are") }
        run(for: .seconds(3 * 3600))
        if core.connectionCount > 0 { found.append("\(core.connectionCount) connections after three hours") }
        if core.timeWaitCount > 0 { found.append("\(core.timeWaitCount) in TIME-WAIT after three hours") }
        if core.chunksInUse > 0 { found.append("\(core.chunksInUse) chunks after three hours") }
        if core.flowCount > 0 { found.append("\(core.flowCount) datagram flows after three hours") }
        return found
    }
}
