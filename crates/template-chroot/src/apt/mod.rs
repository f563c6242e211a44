// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Packages
