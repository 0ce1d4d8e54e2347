//! The defaults of the settings. README.md has their sources.
//!
//! Invariant: the defaults satisfy every check of `compiled.rs`: `{}` is valid.

use super::{
    Attacks, BandEffect, Bands, Effects, Hours, Learning, LowEffect, Model, ModelMode, Points,
    Settings, Tables, Travel,
};

impl Default for Settings {
    fn default() -> Self {
        Self {
            zone: "UTC".to_owned(),
            target_reauthentication_percent: 2,
            bands: Bands::default(),
            effects: Effects::default(),
            learning: Learning::default(),
            travel: Travel::default(),
            hours: Hours::default(),
            attacks: Attacks::default(),
            points: Points::default(),
            tables: Tables::default(),
            platform_risk: None,
            second_factor: None,
            second_factor_minutes: 15,
            remember_days: 180,
            model: Model::default(),
        }
    }
}

impl Default for Bands {
    fn default() -> Self {
        Self { medium: 40, lowest_medium: 30, highest_medium: 60, high: 80 }
    }
}

impl Default for Effects {
    fn default() -> Self {
        Self {
            low: LowEffect::Allow,
            learning: BandEffect::Allow,
            medium: BandEffect::StepUp,
            high: BandEffect::Deny,
        }
    }
}

impl Default for Learning {
    fn default() -> Self {
        Self { days: 14, sign_ins: 10, away_days: 90 }
    }
}

impl Default for Travel {
    fn default() -> Self {
        Self {
            impossible_km: 500,
            impossible_kmh: 800,
            impossible_minutes: 90,
            velocity_kmh: 805,
            velocity_km: 100,
        }
    }
}

impl Default for Hours {
    fn default() -> Self {
        Self { unusual_percent: 5, sign_ins: 20, shift_margin_minutes: 60 }
    }
}

impl Default for Attacks {
    fn default() -> Self {
        Self {
            denied_pushes: 5,
            denied_pushes_minutes: 10,
            spraying_people: 5,
            spraying_failures: 15,
            spraying_minutes: 5,
            stuffing_people: 15,
            stuffing_failures: 25,
            brute_force_addresses: 5,
            brute_force_failures: 10,
            remembered_hours: 6,
        }
    }
}

impl Default for Points {
    fn default() -> Self {
        Self {
            likelihood: 8,
            likelihood_most: 40,
            new_device: 25,
            new_network: 15,
            new_country: 20,
            unusual_hour: 8,
            novelty_most: 60,
            impossible_travel: 50,
            velocity: 25,
            push_bombing: 40,
            brute_force: 20,
            locked_out: 10,
            spraying: 30,
            stuffing: 30,
            threat: 20,
            proxy: 10,
            success_after_attack: 30,
            attacks_most: 80,
            platform_medium: 15,
            platform_high: 40,
            model_most: 20,
        }
    }
}

impl Default for Model {
    fn default() -> Self {
        Self { mode: ModelMode::Off, table: None }
    }
}
