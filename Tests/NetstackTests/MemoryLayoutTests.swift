@testable import Netstack
import Testing

/// Bytes of the records that every idle connection costs: the figure in the issue is 512 for all of the process's memory.
@Suite struct MemoryLayoutTests {
    @Test func theRecordHasNoGaps() {
        #expect(MemoryLayout<Connection>.stride <= 208, "\(MemoryLayout<Connection>.size)")
    }
}
