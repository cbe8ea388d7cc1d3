import Testing

@testable import Wire

@Suite struct SerialFramingTests {
    static func encode(_ frame: [UInt8]) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: SerialFraming.room(frame.count))
        var span = bytes.mutableSpan
        var raw = unsafe span.mutableBytes
        let count = SerialFraming.write(frame.rawSpan, to: &raw, at: 0)
        return Array(bytes[..<count])
    }

    /// The frames in `bytes`, how many pieces were damaged, and how many bytes are left over.
    static func decode(_ bytes: [UInt8]) -> (frames: [[UInt8]], damaged: Int, rest: Int) {
        var bytes = bytes
        let end = bytes.count
        var frames: [[UInt8]] = []
        var damaged = 0
        var at = 0
        while true {
            var span = bytes.mutableSpan
            var raw = unsafe span.mutableBytes
            switch SerialFraming.next(in: &raw, from: at, to: end) {
            case .frame(let range, let next):
                at = next
                frames.append(Array(bytes[range]))
            case .empty(let next): at = next
            case .damaged(let next):
                damaged += 1
                at = next
            case .more: return (frames, damaged, end - at)
            }
        }
    }

    static func random(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: 0...255) } }

    @Test func theCheckSequenceIsThatOfEthernet() {
        // The check value of CRC-32/ISO-HDLC.
        #expect(SerialFraming.checkSequence(Array("123456789".utf8).rawSpan, 0, 9) == 0xcbf4_3926)
        #expect(Self.encode([0x7e, 0x01]).starts(with: [0x7e, 0x7d, 0x5e, 0x01]))
    }

    @Test func comesBack() {
        let special: [UInt8] = [0x7e, 0x7d, 0x11, 0x13, 0x5e, 0x5d, 0x20]
        for frame in [
            special, special + special, [0], Self.random(1514), Self.random(65_535),
            Array(repeating: 0x7e, count: 65_535),
        ] {
            let encoded = Self.encode(frame)
            #expect(encoded.count <= SerialFraming.room(frame.count))
            #expect(!encoded.dropFirst().dropLast().contains { $0 == 0x7e || $0 == 0x11 || $0 == 0x13 })
            #expect(Self.decode(encoded).frames == [frame])
        }
    }

    @Test func whateverIsCutIsNoFrame() {
        let encoded = Self.encode(Self.random(64))
        for length in 0..<encoded.count { #expect(Self.decode(Array(encoded[..<length])).frames.isEmpty) }
        // Nor is its end: whoever comes in the middle gets the next frame.
        let next: [UInt8] = [1, 2, 3]
        for start in 2..<encoded.count {
            #expect(Self.decode(Array(encoded[start...]) + Self.encode(next)).frames == [next])
        }
    }

    @Test func noiseBetweenFramesIsSkipped() {
        let frames = (0..<20).map { _ in Self.random(Int.random(in: 14...200)) }
        var line = Array("[    0.000000] Linux version 6.1\r\nlogin: ".utf8)
        for frame in frames { line += Self.encode(frame) + Self.random(Int.random(in: 0...30)) + [0x0d, 0x0a] }
        let found = Self.decode(line)
        #expect(found.frames == frames)
        #expect(found.damaged >= 1)
    }

    @Test func aDamagedByteCostsAFrameOrTwo() {
        let frames = (0..<10).map { _ in Self.random(100) }
        let line = frames.flatMap(Self.encode)
        for position in 0..<line.count {
            var damaged = line
            damaged[position] ^= UInt8.random(in: 1...255)
            let found = Self.decode(damaged).frames
            #expect(found.count >= 8 && found.allSatisfy { frames.contains($0) })
        }
    }

    @Test func anythingMayCome() {
        for _ in 0..<5000 {
            let alphabet: [UInt8] = [0x7e, 0x7d, 0x5e, 0x11, 0, 1]
            let noise = (0..<Int.random(in: 0...60)).map { _ in alphabet[Int.random(in: 0..<alphabet.count)] }
            #expect(Self.decode(noise).rest <= noise.count)
        }
    }
}
