def test_the_bar_is_that_of_the_precision_that_the_prior_is_run_in():
    import speed

    computed = {"torch:bf16": "bf16", "openvino:int8": "int8", speed.AS_SHIPPED: "int8", speed.CONVOLUTIONS: "bf16"}
    shares = {"torch:bf16": 0.85, "openvino:int8": 0.6, speed.AS_SHIPPED: 0.59, speed.CONVOLUTIONS: 0.99}
    notes = speed.verdicts(shares, computed, "openvino:int8+bf16")
    assert notes[0] == "Most of the bf16 ceiling: torch:bf16, 85%."
    assert notes[1] == "Most of the int8 ceiling: openvino:int8, 60%."
    assert "59% of the int8 ceiling" in notes[2] and notes[2].endswith("missed.")
