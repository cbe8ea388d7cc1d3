import Testing
import Wire

/// The reference vectors of SipHash-2-4 (vectors.h of its authors): key 00 01 … 0f, input 00 01 … of every length.
@Suite struct SipHashTests {
    static let vectors: [(length: Int, hash: UInt64)] = [
        (0, 0x726f_db47_dd0e_0e31), (1, 0x74f8_39c5_93dc_67fd), (2, 0x0d6c_8009_d9a9_4f5a),
        (3, 0x8567_6696_d7fb_7e2d), (7, 0xab02_00f5_8b01_d137), (8, 0x93f5_f579_9a93_2462),
        (15, 0xa129_ca61_49be_45e5),
    ]

    @Test func agreesWithTheReference() {
        for (length, hash) in Self.vectors {
            var sip = SipHash(key: (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908))
            func word(_ from: Int, _ count: Int) -> UInt64 {
                (0..<count).reduce(0) { $0 | UInt64(from + $1) << UInt64(8 * $1) }
            }
            for i in 0..<length / 8 { sip.add(word(8 * i, 8)) }
            #expect(sip.finish(word(length / 8 * 8, length % 8), length: length) == hash, "length \(length)")
        }
    }
}
