/// The host's /etc/resolv.conf (resolv.conf(5)), for what a sandbox takes over from it.
package enum HostResolverFile {
    /// The lines whose first word is one of `keys`, as they stand.
    package static func lines(keyed keys: Set<String>) -> [String] {
        lines(of: File.read("/etc/resolv.conf") ?? "", keyed: keys)
    }

    package static func lines(of text: String, keyed keys: Set<String>) -> [String] {
        text.split(separator: "\n").compactMap { line in
            let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
            return words.count > 1 && keys.contains(String(words[0])) ? String(line) : nil
        }
    }
}
