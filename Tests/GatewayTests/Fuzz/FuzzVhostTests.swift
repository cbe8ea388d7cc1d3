import Simnet
import Testing

/// The corpus of the fuzzer `vhost` (FuzzCorpusTests).
@Suite struct FuzzVhostTests {
    @Test func corpus() {
        let root = String(#filePath.dropLast("Tests/GatewayTests/Fuzz/FuzzVhostTests.swift".count))
        let (found, files) = FuzzCorpus.run("vhost", root: root, chances: 100, FuzzVhost.run)
        #expect(found.isEmpty)
        #expect(files >= 4, "the corpus is empty")
    }
}
