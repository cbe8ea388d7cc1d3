import Testing
import Wire

@Suite struct ChecksumTests {
    /// As RFC 1071 section 4.1 writes it.
    static func naive(_ bytes: ArraySlice<UInt8>) -> UInt16 {
        var sum: UInt32 = 0
        var index = bytes.startIndex
        while index < bytes.endIndex {
            let low = index + 1 < bytes.endIndex ? bytes[index + 1] : 0
            sum += UInt32(bytes[index]) << 8 | UInt32(low)
            sum = (sum & 0xffff) + sum >> 16
            index += 2
        }
        return UInt16(sum)
    }

    /// RFC 1071 section 3.
    @Test func sumsTheExample() {
        let bytes = hex("0001 f203 f4f5 f6f7")
        #expect(Checksum.fold(Checksum.sum(bytes.rawSpan)) == 0xddf2)
        #expect(Checksum.finish(Checksum.sum(bytes.rawSpan)) == 0x220d)
        // The same in two parts, and an odd one at the end.
        let first = Checksum.sum(hex("0001 f203").rawSpan)
        #expect(Checksum.fold(Checksum.sum(hex("f4f5 f6f7").rawSpan, first)) == 0xddf2)
        #expect(Checksum.fold(Checksum.sum(hex("0001 f2").rawSpan)) == 0xf201)
    }

    @Test func agreesWithTheNaiveSum() {
        let seed = newSeed("Checksum")
        var random = SplitMix64(seed: seed)
        let noise = random.bytes(4096)
        let ones = [UInt8](repeating: 0xff, count: 70_000)
        for length in 0..<200 {
            for start in 0..<9 {
                let slice = noise[start..<(start + length)]
                let span = noise.rawSpan.extracting(start..<(start + length))
                #expect(Checksum.fold(Checksum.sum(span)) == Self.naive(slice), "\(start) \(length), seed \(seed)")
            }
        }
        for _ in 0..<300 {
            let start = Int.random(in: 0..<64, using: &random)
            let length = Int.random(in: 0...(4096 - start), using: &random)
            let split = Int.random(in: 0...(length / 2), using: &random) * 2
            let whole = noise.rawSpan.extracting(start..<(start + length))
            let first = Checksum.sum(whole.extracting(0..<split))
            let both = Checksum.sum(whole.extracting(split..<length), first)
            #expect(Checksum.fold(both) == Self.naive(noise[start..<(start + length)]), "seed \(seed)")
        }
        for length in [31, 32, 33, 1500, 65_535, 70_000] {
            #expect(Checksum.fold(Checksum.sum(ones.rawSpan.extracting(0..<length))) == Self.naive(ones[..<length]))
        }
        #expect(Checksum.sum(ones.rawSpan) < 1 << 17)
    }

    @Test(
        arguments: [
            (0, 0), (0xffff, 0xffff), (0x10000, 1), (0x1ffff, 1), (0xffff_ffff, 0xffff), (0x1_0000_0000, 1),
            (.max, 0xffff),
            (0xffff_0000_0001_0000, 1), (0x1_0001, 2), (0xffff_fffe_0001_0001, 1),
        ] as [(UInt64, UInt16)])
    func folds(_ sum: UInt64, _ expected: UInt16) {
        #expect(Checksum.fold(sum) == (sum == 0 ? 0 : sum % 0xffff == 0 ? 0xffff : UInt16(sum % 0xffff)))
        #expect(Checksum.fold(sum) == expected)
        #expect(Checksum.finish(sum) == ~expected)
    }

    @Test func sumsPseudoHeaders() {
        let v4 = Checksum.pseudoHeader(
            source: IPAddress("192.0.2.1")!, destination: IPAddress("198.51.100.7")!, protocol: 17, length: 65_535)
        #expect(Checksum.fold(v4) == Self.naive(hex("c0000201 c6336407 0011 ffff")[...]))
        let v6 = Checksum.pseudoHeader(
            source: IPAddress("2001:db8::1")!, destination: IPAddress("fe80::ff:fe00:2")!, protocol: 58, length: 70_000)
        let bytes = hex("20010db8000000000000000000000001 fe80000000000000000000fffe000002 00011170 0000003a")
        #expect(Checksum.fold(v6) == Self.naive(bytes[...]))
    }
}
