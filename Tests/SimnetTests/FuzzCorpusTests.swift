import Simnet
import Testing

// What the fuzzers are started from, and whatever they have found: every input in Fuzz/Corpus is run here, and some by chance. An input
// that crashed goes there under a name that says what it was, and stays. The shell's targets are in the tests of their modules.

@Suite struct FuzzCorpusTests {
    static let targets: [(name: String, run: @Sendable ([UInt8]) -> [String])] = [
        (
            "views",
            { bytes in
                _ = FuzzViews.readAll(bytes.raw); return []
            }
        ),
        ("frames", FuzzFrames.run), ("operations", FuzzOperations.run), ("resolver", FuzzResolver.run),
        ("boot", FuzzBoot.run), ("bindings", FuzzBindings.run),
    ]

    @Test(arguments: targets.indices) func corpus(_ index: Int) {
        let (name, run) = Self.targets[index]
        let root = String(#filePath.dropLast("Tests/SimnetTests/FuzzCorpusTests.swift".count))
        let (found, files) = FuzzCorpus.run(name, root: root, chances: 100, run)
        #expect(found.isEmpty)
        #expect(files >= 4, "the corpus is empty")
    }
}
