internal import Glibc

/// Files that tests run: what the fuzzers are started from, and scripts.
package enum FuzzCorpus {
    /// The names in a folder, sorted; none when there is no such folder.
    package static func files(in folder: String) -> [String] {
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

    /// A file's bytes, up to a megabyte; empty when it cannot be read.
    package static func read(_ path: String) -> [UInt8] {
        guard let file = unsafe fopen(path, "r") else { return [] }
        defer { unsafe fclose(file) }
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        let count = unsafe fread(&buffer, 1, buffer.count, file)
        return Array(buffer.prefix(count))
    }

    /// Runs every input of a target's corpus, and inputs by chance, where no fuzzer runs.
    /// - Returns: what was violated, each with its file or its seed, and the number of files.
    package static func run(
        _ target: String, root: String, chances: Int, _ run: ([UInt8]) -> [String]
    ) -> (found: [String], files: Int) {
        let folder = root + "Fuzz/Corpus/" + target + "/"
        let names = files(in: folder)
        var found = names.flatMap { name in run(read(folder + name)).map { "\(target)/\(name): \($0)" } }
        let start = UInt64.random(in: 0..<UInt64(1) << 62)
        for seed in start..<start + UInt64(chances) {
            var random = SeededRandom(seed)
            let length = 1 + random.below(600)
            found += run(random.bytes(length)).map { "\(target), seed \(seed): \($0)" }
        }
        return (found, names.count)
    }
}
