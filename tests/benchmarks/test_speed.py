def test_the_bar_is_that_of_the_precision_that_the_prior_is_run_in():
    import speed

    many = f"openvino:bf16, {speed.BATCH_NOTE}"
    computed = {
        "torch:bf16": "bf16", many: "bf16", speed.CONVOLUTIONS: "bf16",
        "openvino:int8": "int8", speed.AS_SHIPPED: "int8",
    }  # fmt: skip
    shares = {"torch:bf16": 0.785, "openvino:int8": 0.6, speed.AS_SHIPPED: 0.59, speed.CONVOLUTIONS: 0.99, many: 0.82}
    notes = speed.verdicts(shares, computed, "openvino:int8+bf16")
    assert notes[0] == "Most of the bf16 ceiling, one picture: torch:bf16, 78.5%; wanted: 80%, missed."
    assert notes[1] == "Most of the int8 ceiling, one picture: openvino:int8, 60.0%; wanted: 80%, missed."
    assert notes[2] == f"Most of the bf16 ceiling, 4 in a call: {many}, 82.0%; wanted: 80%, reached."
    assert "59.0% of the int8 ceiling" in notes[3] and notes[3].endswith("missed.")
