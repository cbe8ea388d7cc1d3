internal import Wire

// How a machine introduces itself on VPNKit's socket, before frames pass (protocol "vmnet", version 22: moby/vpnkit,
// src/hostnet/vmnet.ml; clients: HyperKit, RootlessKit). The machine speaks first. Numbers are little-endian.
//
//   machine  Init      49 bytes   "VMN3T", u32 version, 40 bytes commit (of no meaning)
//   us       Init      49 bytes   the same, whatever the machine's version
//   machine  Command   41 bytes   u8 1 (Ethernet) or 8 (with preferred address), 36 bytes UUID as text, u32 IPv4 address with its octets
//                                 reversed, or 0
//   us       Response 258 bytes   u8 1, u16 MTU, u16 largest frame, 6 bytes MAC address, zeros; or
//                                 u8 2, u8 length, a sentence, zeros
//   then frames both ways, each behind its length in 2 bytes
//
// One UUID is one machine: its MAC address is a function of the UUID, so it needs no table, cannot run out, and outlives us; and with
// the MAC address comes the same lease. 36 zero bytes instead of a UUID make a machine that nobody knows again.

/// Where a machine is in its introduction.
enum VmnetHandshake: Equatable, Sendable {
    case introduction, command

    static let initLength = 49
    static let commandLength = 41
    static let responseLength = 258
    static let version: UInt32 = 22
    /// VPNKit's own: room for an Ethernet header and VLAN tags above the MTU.
    static let headroom = 50
    private static let magic = Array("VMN3T".utf8)

    struct Request: Equatable {
        /// nil: a machine without a name.
        var mac: MACAddress?
        var preferred: IPAddress?
    }

    enum Step: Equatable {
        case more
        /// A whole Init.
        case introduced
        /// A whole Command.
        case asked(Request)
        /// What the machine says is not the protocol; `answers` with our Init all the same.
        case refused(String, answers: Bool)
    }

    /// Reads what comes next. Bytes that cannot begin it are refused at once: their sender may be waiting for us.
    func step(_ bytes: RawSpan) -> Step {
        switch self {
        case .introduction:
            for index in 0..<min(bytes.byteCount, Self.magic.count) where bytes.u8(at: index) != Self.magic[index] {
                return .refused("it does not speak VPNKit's protocol", answers: false)
            }
            guard bytes.byteCount >= Self.initLength else { return .more }
            let version = bytes.u32(at: 5).byteSwapped
            guard version == Self.version else {
                return .refused("it speaks version \(version) of VPNKit's protocol, not \(Self.version)", answers: true)
            }
            return .introduced
        case .command:
            if bytes.byteCount >= 1, bytes.u8(at: 0) != 1, bytes.u8(at: 0) != 8 {
                return .refused("command \(bytes.u8(at: 0)) is not for this socket", answers: false)
            }
            guard bytes.byteCount >= Self.commandLength else { return .more }
            var request = Request()
            var isNameless = true
            for index in 1..<37 where bytes.u8(at: index) != 0 { isNameless = false }
            if !isNameless {
                guard let mac = Self.macAddress(ofUUID: bytes.extracting(1..<37)) else {
                    return .refused("its UUID cannot be read", answers: false)
                }
                request.mac = mac
            }
            let address = bytes.u32(at: 37).byteSwapped
            if bytes.u8(at: 0) == 8, address != 0 { request.preferred = IPAddress(v4: address) }
            return .asked(request)
        }
    }

    /// The MAC address of a machine: locally administered, 46 bits of a hash of its UUID. nil when that is not `8-4-4-4-12`.
    static func macAddress(ofUUID text: RawSpan) -> MACAddress? {
        var words: (UInt64, UInt64) = (0, 0)
        for index in 0..<36 {
            let byte = text.u8(at: index)
            if index == 8 || index == 13 || index == 18 || index == 23 {
                guard byte == UInt8(ascii: "-") else { return nil }
                continue
            }
            guard let digit = byte.hexadecimalDigit else { return nil }
            words = (words.0 << 4 | words.1 >> 60, words.1 << 4 | UInt64(digit))
        }
        var hash = SipHash(key: (0x706f_7274_6f6c_616e, 0x564d_4e33_5400_0016))
        hash.add(words.0)
        hash.add(words.1)
        return MACAddress(locallyAdministered: hash.finish(0, length: 16))
    }

    // MARK: Ours

    static func introduction() -> [UInt8] {
        let commit = Array("0123456789012345678901234567890123456789".utf8)
        return magic + [UInt8(version), 0, 0, 0] + commit
    }

    static func response(mtu: Int, mac: MACAddress) -> [UInt8] {
        let largest = largestFrame(mtu: mtu)
        var bytes: [UInt8] = [1, UInt8(mtu & 0xff), UInt8(mtu >> 8 & 0xff), UInt8(largest & 0xff), UInt8(largest >> 8)]
        bytes += (0..<6).map { UInt8(truncatingIfNeeded: mac.rawValue >> UInt64(40 - 8 * $0)) }
        return padded(bytes)
    }

    /// HyperKit takes a longer one for the end of the world.
    static func largestFrame(mtu: Int) -> Int { min(mtu + headroom, 65_535) }

    static func refusal(_ sentence: String) -> [UInt8] {
        let text = Array(sentence.utf8.prefix(255))
        return padded([2, UInt8(text.count)] + text)
    }

    private static func padded(_ bytes: [UInt8]) -> [UInt8] {
        bytes + [UInt8](repeating: 0, count: responseLength - bytes.count)
    }
}
