import Glibc
import Simnet
import Testing

// What the fuzzers are started from, and whatever they have found: every input in Fuzz/Corpus is run here. An input that
// crashed goes there under a name that says what it was, and stays.

@Suite struct FuzzCorpusTests {
    static let targets: [(name: String, run: @Sendable ([UInt8]) -> [String])] = [
        (
            "views",
            { bytes in
                _ = FuzzViews.readAll(bytes.raw); return []
            }
        ),
        ("frames", FuzzFrames.run), ("operations", FuzzOperations.run), ("resolver", FuzzResolver.run),
    ]

    @Test(arguments: targets.indices) func corpus(_ index: Int) {
        let (name, run) = Self.targets[index]
        let folder = String(#filePath.dropLast("Tests/SimnetTests/FuzzCorpusTests.swift".count)) + "Fuzz/Corpus/" + name
        let files = Self.files(in: folder)
        #expect(files.count >= 4, "\(folder) is empty")
        for file in files {
            let found = run(Self.read(folder + "/" + file))
            #expect(found.isEmpty, "\(name)/\(file)")
        }
    }

    /// Each target under chance, where no fuzzer runs. The seed of a bad input is in its comment.
    @Test(arguments: targets.indices) func chance(_ index: Int) {
        let (name, run) = Self.targets[index]
        let start = UInt64.random(in: 0..<UInt64(1) << 62)
        for seed in start..<start + 100 {
            var random = SeededRandom(seed)
            let length = 1 + random.below(600)
            let found = run(random.bytes(length))
            #expect(found.isEmpty, "\(name), seed \(seed)")
        }
    }

    static func files(in folder: String) -> [String] {
        guard let directory = unsafe opendir(folder) else { return [] }
        defer { unsafe closedir(directory) }
        var names: [String] = []
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
                unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }

    static func read(_ path: String) -> [UInt8] {
        guard let file = unsafe fopen(path, "r") else { return [] }
        defer { unsafe fclose(file) }
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        let count = unsafe fread(&buffer, 1, buffer.count, file)
        return Array(buffer.prefix(count))
    }
}
