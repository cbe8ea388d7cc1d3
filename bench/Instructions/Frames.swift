import Netstack
import Simnet
import Wire

/// Frames that a guest sends, as its kernel would hand them to a tap with offloads: checksums are left to us.
struct Frames {
    static let guestMAC = Simulation.guestMAC
    static let gatewayMAC = Simulation.gatewayMAC
    static let remote = IPAddress("198.51.100.7")!
    static let segmentSize = 1448

    let guest: IPAddress
    let gateway: IPAddress

    init(_ configuration: Configuration) {
        guest = configuration.v4!.guest
        gateway = configuration.v4!.gateway
    }

    private func frame(
        _ proto: UInt8, to destination: IPAddress, length: Int, checksumAt: Int?,
        _ body: (inout MutableRawSpan) -> Void
    ) -> Frame {
        let bytes = [UInt8].written(34 + length) { span in
            EthernetHeader(destination: Self.gatewayMAC, source: Self.guestMAC, etherType: EtherType.ipv4)
                .write(to: &span, at: 0)
            IPv4Header(source: guest, destination: destination, protocol: proto, payloadLength: length, timeToLive: 64)
                .write(to: &span, at: 14)
            body(&span)
        }
        var offload = OffloadHeader()
        if let checksumAt {
            offload.needsChecksum = true
            offload.checksumStart = 34
            offload.checksumOffset = UInt16(checksumAt)
        }
        return Frame(bytes, offload)
    }

    /// With timestamps, as nearly all segments have them.
    func tcp(_ flags: TCPFlags, payload: Int = 0) -> Frame {
        var options = TCPOptions()
        options.timestamps = (1000, 0)
        if flags.contains(.syn) {
            options.maximumSegmentSize = 1460
            options.windowScale = 7
            options.sackPermitted = true
        }
        var frame = frame(
            IPProtocol.tcp, to: Self.remote, length: 20 + options.length + payload, checksumAt: 16
        ) { span in
            TCPHeader(
                sourcePort: 40_000, destinationPort: 80, sequence: SequenceNumber(rawValue: 1),
                acknowledgment: SequenceNumber(rawValue: 0), flags: flags, window: 65_535
            ).write(to: &span, at: 34, optionsLength: options.length)
            options.write(to: &span, at: 54)
        }
        if payload > Self.segmentSize {
            frame.offload.segmentation = .tcp4
            frame.offload.segmentSize = UInt16(Self.segmentSize)
            frame.offload.headerLength = UInt16(54 + options.length)
        }
        return frame
    }

    func udp(port: UInt16, payload: Int) -> Frame {
        frame(IPProtocol.udp, to: Self.remote, length: 8 + payload, checksumAt: 6) { span in
            UDPHeader(sourcePort: 5000, destinationPort: port, length: 8 + payload).write(to: &span, at: 34)
        }
    }

    /// An echo request to the gateway, 56 bytes of data as ping(8) sends.
    func echo() -> Frame {
        var frame = frame(IPProtocol.icmp, to: gateway, length: 64, checksumAt: nil) { span in
            span.store(u16: 0x0800, at: 34)
            span.store(u32: 0x1234_0001, at: 38)
        }
        let sum = Checksum.finish(Checksum.sum(frame.bytes.raw.extracting(34..<98)))
        frame.bytes[36] = UInt8(sum >> 8)
        frame.bytes[37] = UInt8(sum & 0xff)
        return frame
    }

    /// Who has the gateway's address?
    func arp() -> Frame {
        Frame(
            [UInt8].written(42) { span in
                EthernetHeader(destination: .broadcast, source: Self.guestMAC, etherType: EtherType.arp)
                    .write(to: &span, at: 0)
                ARPPacket(
                    operation: ARPOperation.request, senderMAC: Self.guestMAC, senderAddress: guest, targetMAC: .zero,
                    targetAddress: gateway
                ).write(to: &span, at: 14)
            })
    }
}

extension Frame {
    /// Another place in the stream; the checksum is left to us, so nothing else changes.
    mutating func place(_ sequence: SequenceNumber, _ ack: SequenceNumber) {
        var span = bytes.mutableSpan
        var raw = unsafe span.mutableBytes
        raw.store(u32: sequence.rawValue, at: 38)
        raw.store(u32: ack.rawValue, at: 42)
    }
}
