import ArgumentParser
import Sandbox
import Yaml

// `--config FILE`: the options of `serve` by their long names, for one network or for several.
//
//     subnet: 10.0.5.0/24                 one network: options at the top
//     listen: [qemu:/run/vm1.sock, vfkit:/run/vm2.sock]
//     isolate: true                       a flag; `ipv6: false` is --no-ipv6
//
//     verbose: true                       several: what all have in common at the top
//     networks:
//       blue:
//         listen: qemu:/run/blue.sock
//       red:
//         listen: qemu:/run/red.sock
//         mtu: 9000
//
// A file is nothing but options written down: every setting becomes one and is parsed as one, alone first, so that a mistake is told
// with its line. What stands later wins: the top, the network, the command line; of lists all count.

/// A network of a configuration: its options, and a name when there are several.
struct PlannedNetwork {
    let name: String?
    let options: MachineOptions
}

struct ConfigurationFile {
    /// What two networks cannot have in common.
    private static let ofOneNetwork: Set = ["listen", "publish", "capture", "lease-file"]
    /// What is the process's.
    private static let ofTheProcess: Set = ["verbose", "quiet", "ready-fd"]

    let path: String
    private var common: [String] = []
    private var networks: [(name: String, arguments: [String])] = []

    /// - Throws: a `ValidationError` that names the file and, where there is one, the line.
    init(path: String) throws {
        self.path = path
        guard let text = File.read(path, limit: 2 << 20) else {
            throw ValidationError("--config \(path): it cannot be read")
        }
        let node: YAMLNode?
        do {
            node = try YAMLReader.read(text)
        } catch {
            throw mistake(error.line, error.problem)
        }
        guard let node else { return }
        if case .scalar("", false) = node.content { return }
        let pairs = try mapping(node, "settings, such as `listen: qemu:/run/vm.sock`")
        let hasNetworks = pairs.contains { $0.key == "networks" }
        for pair in pairs where pair.key != "networks" {
            if hasNetworks, Self.ofOneNetwork.contains(pair.key) {
                throw mistake(pair.line, "'\(pair.key)' belongs to one of the networks")
            }
            common += try arguments(pair)
        }
        for pair in pairs where pair.key == "networks" {
            for network in try mapping(pair.value, "networks by their names") {
                try add(network)
            }
        }
    }

    private mutating func add(_ network: YAMLNode.Pair) throws {
        guard !network.key.isEmpty, network.key.utf8.count < 64, !network.key.contains(where: \.isWhitespace) else {
            throw mistake(network.line, "the name of a network has 1 to 63 bytes without spaces")
        }
        var arguments: [String] = []
        for pair in try mapping(network.value, "settings of the network '\(network.key)'") {
            if Self.ofTheProcess.contains(pair.key) || pair.key == "networks" {
                throw mistake(pair.line, "'\(pair.key)' stands at the top, not in a network")
            }
            arguments += try self.arguments(pair)
        }
        networks.append((network.key, arguments))
    }

    /// The networks, with the options of the command line.
    func planned(_ commandLine: [String]) throws -> [PlannedNetwork] {
        guard !networks.isEmpty else {
            return [PlannedNetwork(name: nil, options: try parse(common + commandLine, "\(path)"))]
        }
        return try networks.map { name, arguments in
            PlannedNetwork(
                name: name, options: try parse(common + arguments + commandLine, "\(path): network \(name)"))
        }
    }

    private func parse(_ arguments: [String], _ place: String) throws -> MachineOptions {
        do {
            return try MachineOptions.parse(arguments)
        } catch {
            throw ValidationError("\(place): \(MachineOptions.message(for: error))")
        }
    }

    // MARK: One setting

    private func mistake(_ line: Int, _ what: String) -> ValidationError { ValidationError("\(path):\(line): \(what)") }

    private func mapping(_ node: YAMLNode, _ wanted: String) throws -> [YAMLNode.Pair] {
        guard case .mapping(let pairs) = node.content, !pairs.isEmpty else {
            throw mistake(node.line, "here should be \(wanted)")
        }
        return pairs
    }

    /// A setting as options.
    private func arguments(_ pair: YAMLNode.Pair) throws -> [String] {
        switch pair.value.content {
        case .scalar("true", false) where problem(["--\(pair.key)"]) == nil: return ["--\(pair.key)"]
        case .scalar("false", false) where problem(["--no-\(pair.key)"]) == nil: return ["--no-\(pair.key)"]
        case .scalar("false", false) where problem(["--\(pair.key)"]) == nil: return []
        case .scalar(let text, _): return [try argument(pair, text, pair.value.line)]
        case .sequence(let items):
            let arguments = try items.map { item -> String in
                guard case .scalar(let text, _) = item.content else {
                    throw mistake(item.line, "a value of '\(pair.key)' is one text")
                }
                return try argument(pair, text, item.line)
            }
            if let problem = problem(arguments) { throw mistake(pair.line, problem) }
            // Of an option with one value the last counts: then the others make no difference.
            if items.count > 1, described(arguments) == described([arguments[items.count - 1]]) {
                throw mistake(pair.line, "'\(pair.key)' has one value, not a list")
            }
            return arguments
        case .mapping: throw mistake(pair.line, "'\(pair.key)' has a value or a list, not settings of its own")
        }
    }

    private func argument(_ pair: YAMLNode.Pair, _ text: String, _ line: Int) throws -> String {
        let argument = "--\(pair.key)=\(text)"
        guard let problem = problem([argument]) else { return argument }
        throw mistake(line, problem.hasPrefix("Unknown option") ? unknown(pair.key, problem) : problem)
    }

    private func unknown(_ key: String, _ problem: String) -> String {
        // "Unknown option '--subnett'. Did you mean '--subnet'?"
        let words = problem.split(separator: "'")
        guard words.count > 3, words[3].hasPrefix("--") else { return "there is no setting '\(key)'" }
        return "there is no setting '\(key)'; did you mean '\(words[3].dropFirst(2))'?"
    }

    /// What is wrong with these options alone.
    private func problem(_ arguments: [String]) -> String? {
        do {
            _ = try MachineOptions.parse(arguments)
            return nil
        } catch {
            return MachineOptions.message(for: error)
        }
    }

    private func described(_ arguments: [String]) -> String { "\((try? MachineOptions.parse(arguments)) as Any)" }
}
