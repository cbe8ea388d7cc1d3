import Testing
import Wire

@Suite struct ByteOrderTests {
    @Test func loadsBigEndianAtAnyOffset() {
        let bytes = hex("00 01 02 03 04 05 06 07 08 09")
        check(bytes.rawSpan.u8(at: 9), 9)
        check(bytes.rawSpan.u16(at: 1), 0x0102)
        check(bytes.rawSpan.u32(at: 3), 0x0304_0506)
        check(bytes.rawSpan.u64(at: 2), 0x0203_0405_0607_0809)
    }

    @Test func storesBigEndianAtAnyOffset() {
        let bytes = written(20) { span in
            span.clear(at: 0, count: 20)
            span.store(u8: 0x11, at: 0)
            span.store(u16: 0x2223, at: 1)
            span.store(u32: 0x3334_3536, at: 3)
            span.store(u64: 0x4445_4647_4849_4a4b, at: 7)
            span.copy(from: hex("5152").rawSpan, at: 18)
            span.copy(from: RawSpan(), at: 20)
            return 20
        }
        #expect(bytes == hex("11 2223 33343536 444546474849 4a4b 000000 5152"))
    }

    @Test func trapsOutsideOfTheSpan() async {
        await #expect(processExitsWith: .failure) { _ = [UInt8](repeating: 0, count: 3).rawSpan.u32(at: 0) }
        await #expect(processExitsWith: .failure) { _ = [UInt8](repeating: 0, count: 3).rawSpan.u8(at: -1) }
        await #expect(processExitsWith: .failure) { _ = [UInt8](repeating: 0, count: 0).rawSpan.u64(at: 0) }
        await #expect(processExitsWith: .failure) {
            var buffer = [UInt8](repeating: 0, count: 3)
            editing(&buffer) { $0.store(u16: 1, at: 2) }
        }
        await #expect(processExitsWith: .failure) {
            var buffer = [UInt8](repeating: 0, count: 3)
            editing(&buffer) { $0.copy(from: [1, 2].rawSpan, at: 2) }
        }
    }
}
