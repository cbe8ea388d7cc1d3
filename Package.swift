// swift-tools-version: 6.2
import PackageDescription

/// One set of rules for every target: Swift 6 mode, explicit existentials and imports, lifetimes for views over spans,
/// and strict memory safety (files that need unsafe constructs end in `+Unsafe.swift`).
let rules: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableExperimentalFeature("Lifetimes"),
    .strictMemorySafety(),
]

func module(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: rules)
}

func tests(
    _ name: String, _ dependencies: [Target.Dependency], exclude: [String] = [], link: [LinkerSetting] = []
) -> Target {
    .testTarget(name: name, dependencies: dependencies, exclude: exclude, swiftSettings: rules, linkerSettings: link)
}

let log: Target.Dependency = .product(name: "Logging", package: "swift-log")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
    name: "portolan",
    products: [.executable(name: "portolan", targets: ["portolan"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    ],
    targets: [
        // The system's libraries: those that every process needs, a module map and one shim header each; those that few need
        // are loaded when they do.
        .systemLibrary(name: "CUv", pkgConfig: "libuv", providers: [.apt(["libuv1-dev"])]),
        .systemLibrary(name: "CYaml", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
        .target(name: "CPcap"),
        .target(name: "CMicrohttpd"),
        .target(name: "CHost"),
        // The core: no clock, no I/O, no imports but these.
        module("Wire"),
        module("Netstack", ["Wire"]),
        module("Resolver", ["Wire"]),
        module("Boot", ["Wire"]),
        // The shell.
        module("Capture", ["Wire", "CPcap"]),
        module("Uv", ["CUv"]),
        module("Yaml", ["CYaml"]),
        module("Sandbox", ["Wire", "CHost", log]),
        module("Gateway", ["Netstack", "Resolver", "Boot", "Wire", "Uv", "Capture", "CHost", "CMicrohttpd", log]),
        // The agent inside a virtual machine.
        module("Agent", ["Gateway", "Wire", "CHost", log]),
        // Test support: virtual clock, lossy wires, scripted peers, what the fuzzers drive.
        module("Simnet", ["Boot", "Netstack", "Resolver", "Wire"]),
        .executableTarget(
            name: "portolan", dependencies: ["Agent", "Gateway", "Sandbox", "Wire", "Yaml", log, arguments],
            swiftSettings: rules
        ),
        // Fixed frames through the core, for scripts/count-instructions.
        .executableTarget(
            name: "instructions", dependencies: ["Netstack", "Resolver", "Simnet", "Wire"], path: "bench/Instructions",
            swiftSettings: rules),
        tests("WireTests", ["Wire", "Simnet"]),
        tests("NetstackTests", ["Netstack", "Wire", "Simnet"], exclude: ["goodput.txt", "states.txt"]),
        tests("SimnetTests", ["Simnet", "Netstack"]),
        tests("ResolverTests", ["Resolver", "Wire"]),
        tests("BootTests", ["Boot", "Wire", "Simnet"]),
        tests("CaptureTests", ["Capture", "CPcap", "Wire"], link: [.linkedLibrary("pcap")]),
        tests("UvTests", ["Uv"]),
        tests("YamlTests", ["Yaml"]),
        tests("AgentTests", ["Agent", "Wire"]),
        tests("SandboxTests", ["Sandbox", "Wire", "CHost"]),
        tests("GatewayTests", ["Gateway", "Netstack", "Resolver", "Simnet", "Wire", "Uv", "CHost"]),
    ]
)
