@testable import Resolver

/// Writes DNS messages for tests, byte by byte, without the code under test.
enum Messages {
    static func name(_ text: String) -> [UInt8] {
        text.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) } + [0]
    }

    static func word(_ value: Int) -> [UInt8] { [UInt8(value >> 8 & 255), UInt8(value & 255)] }

    static func header(_ id: Int, _ flags: Int, _ counts: [Int]) -> [UInt8] {
        word(id) + word(flags) + counts.flatMap(word)
    }

    static func opt(size: Int = 1232, ttl: [UInt8] = [0, 0, 0, 0], options: [UInt8] = []) -> [UInt8] {
        [0] + word(41) + word(size) + ttl + word(options.count) + options
    }

    /// A query with RD.
    static func query(
        _ text: String, id: Int = 0x1234, type: Int = 1, class: Int = 1, flags: Int = 0x0100, opt: [UInt8]? = nil
    ) -> [UInt8] {
        header(id, flags, [1, 0, 0, opt == nil ? 0 : 1]) + name(text) + word(type) + word(`class`) + (opt ?? [])
    }

    /// A record owned by the question's name.
    static func record(_ type: Int, ttl: Int, _ data: [UInt8]) -> [UInt8] {
        [0xc0, 0x0c] + word(type) + word(1) + word(ttl >> 16) + word(ttl & 0xffff) + word(data.count) + data
    }

    static func soa(ttl: Int, minimum: Int) -> [UInt8] {
        record(6, ttl: ttl, [0, 0] + [UInt8](repeating: 0, count: 16) + word(minimum >> 16) + word(minimum & 0xffff))
    }

    /// The response to `query` (as it arrived upstream), its id kept.
    static func response(
        to query: [UInt8], flags: Int = 0x8180, answers: [[UInt8]] = [], authority: [[UInt8]] = [], opt: [UInt8]? = nil
    ) -> [UInt8] {
        var end = 12
        while query[end] != 0 { end += 1 + Int(query[end]) }
        end += 5
        return query[0..<2] + word(flags) + word(1) + word(answers.count) + word(authority.count)
            + word(opt == nil ? 0 : 1) + query[12..<end] + answers.flatMap { $0 } + authority.flatMap { $0 }
            + (opt ?? [])
    }

    static func rcode(_ message: [UInt8]) -> Int { Int(message[3] & 15) }
    static func isTruncated(_ message: [UInt8]) -> Bool { message[2] & 2 != 0 }
    static func answerCount(_ message: [UInt8]) -> Int { Int(message[6]) << 8 | Int(message[7]) }
    static func id(_ message: [UInt8]) -> Int { Int(message[0]) << 8 | Int(message[1]) }
}
